// The exchange in Go: a goroutine for each connection.
//
//	echo PORT keep-alive|one-record
//
// A record is 250 bytes. Its deadline is 30 s after accept, or after the record before. The linger after the last echo
// is 2 s.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	record  = 250
	backlog = 1024
	timeout = 30 * time.Second
	linger  = 2 * time.Second
)

func serve(connection *net.TCPConn, keepAlive bool) {
	defer connection.Close()
	buffer := make([]byte, record)
	for {
		connection.SetDeadline(time.Now().Add(timeout))
		if _, problem := io.ReadFull(connection, buffer); problem != nil {
			return
		}
		if _, problem := connection.Write(buffer); problem != nil {
			return
		}
		if !keepAlive {
			break
		}
	}
	connection.CloseWrite()
	connection.SetDeadline(time.Now().Add(linger))
	for {
		if _, problem := connection.Read(buffer); problem != nil {
			return
		}
	}
}

func fail(problem error) {
	fmt.Fprintln(os.Stderr, "echo:", problem)
	os.Exit(1)
}

// net.Listen uses the system's largest backlog; a second listen(2) sets the benchmark's.
func setBacklog(listener *net.TCPListener) error {
	raw, problem := listener.SyscallConn()
	if problem != nil {
		return problem
	}
	var refused error
	problem = raw.Control(func(descriptor uintptr) { refused = syscall.Listen(int(descriptor), backlog) })
	if problem != nil {
		return problem
	}
	return refused
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: echo PORT keep-alive|one-record")
		os.Exit(2)
	}
	listening, problem := net.Listen("tcp4", "127.0.0.1:"+os.Args[1])
	if problem != nil {
		fail(problem)
	}
	listener := listening.(*net.TCPListener)
	if problem := setBacklog(listener); problem != nil {
		fail(problem)
	}
	for {
		connection, problem := listener.AcceptTCP()
		if problem != nil {
			fail(problem)
		}
		go serve(connection, os.Args[2] == "keep-alive")
	}
}
