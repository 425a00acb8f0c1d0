//! Help that teaches: examples and exit codes, under the name by which the program was called.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Command, CommandFactory as _};

use crate::args::Cli;

/// The program's name.
pub(crate) const PROGRAM: &str = "password-sender";
/// Its name as a plugin of kubectl, whose file is called `kubectl-password_sender`.
const PLUGIN: &str = "kubectl password-sender";

/// The name for help texts, from `argv[0]`.
pub(crate) fn program(argv0: Option<&OsString>) -> &'static str {
    let file = argv0.map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
    if file.starts_with("kubectl-") { PLUGIN } else { PROGRAM }
}

/// The parser, with examples for a program called `program`.
pub(crate) fn command(program: &'static str) -> Command {
    let text = |template: &str| template.replace("{program}", program);
    Cli::command()
        .bin_name(program)
        .after_help(text(TOP))
        .mut_subcommand("open", |c| c.after_help(text(OPEN)))
        .mut_subcommand("decline", |c| c.after_help(text(DECLINE)))
        .mut_subcommand("send", |c| c.after_help(text(SEND)))
        .mut_subcommand("audit", |c| c.mut_subcommand("verify", |c| c.after_help(text(VERIFY))))
        .mut_subcommand("check", |c| c.after_help(text(CHECK)))
        .mut_subcommand("page", |c| c.after_help(text(PAGE)))
        .mut_subcommand("completions", |c| c.after_help(text(COMPLETIONS)))
}

const TOP: &str = "\
Examples:
  {program} open                          asks for the link, then for what it needs
  {program} send --to vault:send …        seals a link here, and keeps it in Vault
  {program} check manifests/              says what a cluster would refuse
  {program} audit verify audit.jsonl      says whether the trail is complete

A link, an opening code or a passphrase is never an argument: others could see it.
`{program} COMMAND --help` has more examples, and the exit codes.";

const OPEN: &str = "\
Examples:
  Look at it, then save it:
    {program} open
  From the clipboard, one value back into it:
    pbpaste | {program} open --field password | pbcopy
  In a script, without a terminal:
    {program} open --no-input --link-file mail --code-file code -o json > secret.json &&
    {program} open --no-input --link-file mail --acknowledge > /dev/null
  Into the environment of a shell:
    eval \"$({program} open --output env)\"

A reply that was lost loses nothing: run the same command again. The right to do so is kept in \
$XDG_STATE_HOME/password-sender/claims (default ~/.local/state), the link never. It ends when you acknowledge, or at the \
time that is printed.

Exit codes:
  0  opened
  1  anything else
  2  the command line, or an input that is missing
  3  the link is over, unknown, or was opened by somebody else
  4  wrong opening code or passphrase
  5  no connection, or not ready: try again
  130  interrupted at a prompt";

const DECLINE: &str = "\
A declined link ends for everybody, and its sender is told. If somebody else has opened it already, this says so.

Examples:
  {program} decline
  {program} decline --no-input --yes --link-file mail.txt --code-file code.txt

Exit codes: 0 declined, 1 anything else, 2 command line or missing input, 3 the link is over or unknown, \
4 wrong opening code, 5 no connection or not ready.";

const SEND: &str = "\
The link is sealed on this machine: Vault gets ciphertext and hashes, and can't read it. The link and its opening code \
are printed once. The link is a lease: revoking it withdraws the link.

Examples:
  Asked for the password:
    {program} send --to vault:send --role onboarding --title \"VPN access\" -f username=@user.txt -f password
  From a program:
    pass vpn/alice | {program} send --to vault:send --role onboarding -f password=- --json

Exit codes: 0 sent, 1 anything else, 2 command line or missing input, 5 no connection: try again.";

const VERIFY: &str = "\
Whoever can write the file can write another trail. Keep the head that a report prints elsewhere, and give \
it to the next verification: then nothing before it can have been changed, removed or made up.

Examples:
  {program} audit verify audit.jsonl
  {program} audit verify --head 1203:9f86d081… audit.jsonl
  {program} audit verify --json - < audit.jsonl
  {program} audit verify pod-0.jsonl pod-1.jsonl

Exit codes: 0 in order, 1 findings, 2 a file can't be read, or the command line is wrong.";

const CHECK: &str = "\
Manifests are checked as an API server would, with the same rules, and for what it does not see: misspelt \
fields, times that do not fit, the same object twice. Vault is not asked.

Examples:
  {program} check manifests/
  {program} check - < delivery.yaml

Exit codes: 0 nothing wrong, 1 faults, 2 the command line is wrong, or there is nothing to check.";

const PAGE: &str = "\
The page is the same for every link and holds no secret. Whoever serves another one could read what is opened on it: so \
anyone can compare. An operator's name, colour and texts are data beside it (page.json, logo) and are not compared.

Examples:
  {program} page                                       hashes, as sha256sum prints them
  {program} page --check https://links.example.com/

Exit codes: 0 the same, 1 a file differs, or anything else, 2 the command line is wrong, 5 no connection.";

const COMPLETIONS: &str = "\
Examples:
  {program} completions bash > ~/.local/share/bash-completion/completions/password-sender
  {program} completions zsh > \"${fpath[1]}/_password-sender\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        command(PROGRAM).debug_assert();
    }

    #[test]
    fn a_plugin_calls_itself_one() {
        let name = |argv0: &str| program(Some(&OsString::from(argv0)));
        assert_eq!(name("/usr/local/bin/kubectl-password_sender"), PLUGIN);
        assert_eq!(name("./password-sender"), PROGRAM);
        assert_eq!(program(None), PROGRAM);
        let help = command(PLUGIN).render_help().to_string();
        assert!(help.contains("Usage: kubectl password-sender"), "{help}");
    }
}
