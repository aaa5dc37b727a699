"""Options as words: what `twistd echod` and `echod` show and read alike."""

from echod.common.options import Option

__all__ = ["help_of", "words_of"]


def help_of(option: Option) -> str:
    """Return the option's line in a usage text, its default with it."""
    if option.default in (None, (), False):
        return option.help
    shown = f"{option.default:g}" if isinstance(option.default, float) else option.default
    return f"{option.help} [default: {shown}]"


def words_of(flag: Option) -> tuple[tuple[str, str, str], ...]:
    """Return the words that set a flag, without hyphens in front: (word, text of the value, help).

    `no-…` is there so that a command line can switch off what a file switches on.
    """
    return (
        (flag.name, "true", flag.help),
        (f"no-{flag.name}", "false", f"not --{flag.name}, whatever the configuration file says"),
    )
