//! Japanese, in polite forms.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "ご担当者様",
    hello_named: "{name} 様",
    genuine_question: "このメールは本物ですか？",
    unexpected_question: "お心当たりがない場合",

    link_subject: "{sender} から認証情報が届いています",
    link_intro: "{sender} から認証情報が送られました。このメールには含まれていません。次のリンクから一度だけ開くことができます。",
    link_button: "認証情報を開く",
    link_code: "開封コード：",
    link_until: "リンクの有効期限：{until}",
    link_works_for: "認証情報は、開封後{length}有効です。その後、新しいものに置き換えられます。",
    link_ready: "ページで求められる項目を入力するまで、何も表示されません。表示される内容をすぐに安全な場所へ保存できるときに、リンクを開いてください。",
    link_passphrase: "パスフレーズの入力も必要です。このメールには記載されていません。{sender} から別の方法でお知らせします（お知らせ済みの場合もあります）。",
    link_email_code: "ワンタイムコードの入力も必要です。ページで請求すると、このメールアドレスに送信されます。",
    link_sign_in: "このメールアドレスのアカウントでのサインインも必要です。移動する前に、サインイン先がページに表示されます。",
    link_genuine: "リンク先は {host} だけです。ブラウザーに別の名前が表示された場合は、ページを閉じてください。リンクやコードをお尋ねすることは決してありません。ご不明な点は、このメールに返信せず、すでにご存じの方法で {sender} にご確認ください。",
    link_unexpected: "リンクを開き、「これは自分宛てではありません」を選んでください。認証情報は取り消され、送信者に通知されます。このメールを転送しないでください。",

    code_subject: "{sender} からの認証情報を開くためのコード",
    code_intro: "{sender} からのリンクをお持ちの方が、認証情報を開こうとしています。ご本人の場合は、次のコードをページに入力してください。",
    code_until: "コードの有効時間は{length}です（{until}まで）。",
    code_genuine: "入力先は {host} だけです。メール、チャット、電話でコードをお尋ねすることは決してありません。",
    code_unexpected: "別の誰かがあなたのリンクを持っています。コードを誰にも教えず、すでにご存じの方法で {sender} にお知らせください。",

    months: ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"],
    first: "1",
    date: "{year}年{month}月{day}日 {hour}:{minute}（UTC）",
    lengths: Lengths {
        days: &["{n}日"],
        hours: &["{n}時間"],
        minutes: &["{n}分"],
        seconds: &["{n}秒"],
        and: "",
        none: "1秒未満",
        form: |_| 0,
    },
};
