//! English.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Hello,",
    hello_named: "Hello {name},",
    genuine_question: "Is this mail genuine?",
    unexpected_question: "Not expected?",

    link_subject: "{sender} sends you a credential",
    link_intro: "{sender} sends you a credential. It is not in this mail. This link opens it, once:",
    link_button: "Open the credential",
    link_code: "Opening code:",
    link_until: "The link works until {until}.",
    link_works_for: "The credential works for {length} after you open it. Then it is replaced.",
    link_ready: "Nothing is shown until you type what the page asks for. Open the link when you are ready to save what you will see.",
    link_passphrase: "You are also asked for a passphrase. It is not in this mail: {sender} has told it to you, or will, in another way.",
    link_email_code: "The page also asks for a one-time code. It is mailed to this address when you ask for it on the page.",
    link_sign_in: "You are also asked to sign in, with an account that has this address. The page names the provider before it takes you there.",
    link_genuine: "The link leads to {host} and nowhere else. If your browser shows another name, close the page. Nobody will ever ask you for the link or the code. If in doubt, ask {sender} in a way that you know already, not by answering this mail.",
    link_unexpected: "Open the link and choose \"This was not meant for me\": the credential is withdrawn and its sender is told. Do not forward this mail.",

    code_subject: "Your code for the credential from {sender}",
    code_intro: "Somebody who has the link from {sender} asks to open the credential. If that is you, type this code on the page:",
    code_until: "The code is valid for {length}, until {until}.",
    code_genuine: "Type it at {host} and nowhere else. Nobody will ever ask you for it by mail, chat or telephone.",
    code_unexpected: "Somebody else has your link. Give the code to nobody, and tell {sender} in a way that you know already.",

    months: [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    first: "1",
    date: "{day} {month} {year}, {hour}:{minute} UTC",
    lengths: Lengths {
        days: &["{n} day", "{n} days"],
        hours: &["{n} hour", "{n} hours"],
        minutes: &["{n} minute", "{n} minutes"],
        seconds: &["{n} second", "{n} seconds"],
        and: " ",
        none: "less than a second",
        form: |n| usize::from(n != 1),
    },
};
