//! `bao path-help` (or `vault path-help`), as somebody at a terminal reads it.

use std::process::Command;

use ps_plugin_engine::Operation;
use ps_plugin_engine::paths::ALL;
use ps_testbed::Vendor;

use crate::stand::shared;

#[tokio::test(flavor = "multi_thread")]
async fn path_help_tells_of_every_path_what_it_does_and_takes() {
    let bao = shared().await;
    let home = tempfile::tempdir().unwrap();
    let cli = Vendor::chosen().ensure().unwrap();
    let says = |path: &str| {
        let mut command = Command::new(&cli);
        command.args(["path-help", path]).env_clear().env("HOME", home.path());
        for prefix in ["BAO", "VAULT"] {
            command.env(format!("{prefix}_ADDR"), bao.address()).env(format!("{prefix}_TOKEN"), bao.root_token());
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let overview = says("send/");
    for path in ALL {
        assert!(overview.contains(&one_line(&format!("{} {}", path.pattern, path.synopsis))), "{}", path.pattern);
        let asked = path.pattern.replace("{name}", "x").replace("{role}", "x");
        let asked = asked.replace("{id}", "AAAAAAAAAAAAAAAAAAAAAA");
        let help = says(&format!("send/{asked}"));
        assert_ne!(help, overview, "{} has a text of its own", path.pattern);
        assert!(help.contains(path.synopsis) && help.contains(&one_line(path.description)), "{asked}: {help}");
        for (operation, what, _) in path.operations {
            let word = match operation {
                Operation::Write => "write",
                Operation::List => "list",
                Operation::Delete => "delete",
                _ => "read",
            };
            assert!(help.contains(&format!("{word} {what}")), "{asked}: {word}: {help}");
        }
        for (name, kind, what) in path.fields {
            assert!(help.contains(&format!("{name} ({kind}) {}", one_line(what))), "{asked}: {name}: {help}");
        }
    }
    assert_eq!(says("send/no/such/path"), overview, "anything else: what there is");
}
