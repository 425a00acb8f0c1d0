//! Chinese, simplified, with “您”.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "您好：",
    hello_named: "{name}，您好：",
    genuine_question: "这封邮件是真的吗？",
    unexpected_question: "没想到会收到这封邮件？",

    link_subject: "{sender} 向您发送了访问凭据",
    link_intro: "{sender} 向您发送了访问凭据。凭据不在本邮件中。请通过以下链接打开，仅可打开一次：",
    link_button: "打开凭据",
    link_code: "打开码：",
    link_until: "链接有效期至 {until}。",
    link_works_for: "打开后，凭据的有效时间为{length}，之后将被更换。",
    link_ready: "在您输入页面要求的内容之前，不会显示任何信息。请在能够立即妥善保存所显示的内容时再打开链接。",
    link_passphrase: "页面还会要求输入口令。口令不在本邮件中：{sender} 已经或将会通过其他方式告知您。",
    link_email_code: "页面还会要求输入一次性验证码。您在页面上请求后，验证码会发送到此邮箱。",
    link_sign_in: "页面还会要求您使用此邮箱的账号登录。跳转之前，页面会说明由哪家服务商提供登录。",
    link_genuine: "链接只指向 {host}，不会指向其他任何地方。如果浏览器显示其他名称，请关闭页面。任何人都不会向您索要链接或打开码。如有疑问，请通过您已知的方式向 {sender} 核实，而不要回复本邮件。",
    link_unexpected: "请打开链接并选择“这不是给我的”：凭据将被撤回，发送者会收到通知。请勿转发本邮件。",

    code_subject: "用于打开 {sender} 所发凭据的验证码",
    code_intro: "有人持有 {sender} 发送的链接，并请求打开凭据。如果是您本人，请在页面上输入以下验证码：",
    code_until: "验证码在{length}内有效（至 {until}）。",
    code_genuine: "请只在 {host} 输入。任何人都不会通过邮件、聊天或电话向您索要验证码。",
    code_unexpected: "这说明有其他人持有您的链接。请勿将验证码告诉任何人，并通过您已知的方式通知 {sender}。",

    months: ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"],
    first: "1",
    date: "{year}年{month}月{day}日 {hour}:{minute}（UTC）",
    lengths: Lengths {
        days: &["{n}天"],
        hours: &["{n}小时"],
        minutes: &["{n}分钟"],
        seconds: &["{n}秒"],
        and: "",
        none: "不到1秒",
        form: |_| 0,
    },
};
