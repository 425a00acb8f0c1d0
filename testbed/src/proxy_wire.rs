//! The proxy's two ends: reading a request, connecting to the server, and answers that are made up.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// A connection to either side.
pub(crate) enum Connection {
    Plain(TcpStream),
    /// Of a client that speaks TLS.
    TlsClient(Box<StreamOwned<ServerConnection, TcpStream>>),
    /// To a server that speaks TLS.
    TlsServer(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Takes a client's connection. The handshake comes with the first read.
    pub(crate) fn accept(client: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Self> {
        client.set_nodelay(true)?;
        Ok(match tls {
            None => Self::Plain(client),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config))?;
                Self::TlsClient(Box::new(StreamOwned::new(connection, client)))
            }
        })
    }

    /// The end of what we say. The other side may be gone already.
    pub(crate) fn finish(&mut self) {
        if let Self::TlsClient(stream) = self {
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
        drop(self.socket().shutdown(Shutdown::Both));
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::TlsClient(stream) => &stream.sock,
            Self::TlsServer(stream) => &stream.sock,
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::TlsClient(stream) => stream.read(buffer),
            Self::TlsServer(stream) => stream.read(buffer),
        };
        match read {
            // A connection that is closed without TLS' goodbye has ended all the same.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::TlsClient(stream) => stream.write(bytes),
            Self::TlsServer(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::TlsClient(stream) => stream.flush(),
            Self::TlsServer(stream) => stream.flush(),
        }
    }
}

/// The server behind the proxy.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// `HOST:PORT`; with TLS the host is an address.
    pub(crate) address: String,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Upstream {
    pub(crate) fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).context("the server behind the proxy")?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Connection::Plain(stream));
        };
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        let connection = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Connection::TlsServer(Box::new(StreamOwned::new(connection, stream))))
    }
}

/// What a client asked.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Which program asks, if it says so.
    pub(crate) agent: String,
    /// As it is sent on: with `Connection: close`, so that the end of the answer is the end of the connection.
    pub(crate) bytes: Vec<u8>,
}

impl Request {
    /// Reads one request; `None` if the client said nothing.
    pub(crate) fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut words = first.split_whitespace();
        let (method, path) = words.next().zip(words.next()).context("no request line")?;
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut head = first.clone();
        let (mut length, mut agent) = (0, String::new());
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let (name, value) = field.split_once(':').unwrap_or((field.trim_end(), ""));
            match name.to_ascii_lowercase().as_str() {
                "" => break,
                "content-length" => length = value.trim().parse()?,
                "transfer-encoding" => anyhow::bail!("the proxy takes no chunked requests"),
                "connection" => continue,
                "user-agent" => value.trim().clone_into(&mut agent),
                _ => {}
            }
            head.push_str(&field);
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        let start = bytes.len();
        bytes.resize(start + length, 0);
        reader.read_exact(bytes.get_mut(start..).unwrap_or_default())?;
        Ok(Some(Self { method, path, agent, bytes }))
    }

    /// Whether it asks the Kubernetes API to tell changes as they come.
    pub(crate) fn is_watch(&self) -> bool {
        self.path.contains("watch=true") || self.path.contains("watch=1")
    }
}

/// The head of an answer, and what came with it of the body. Empty if the server closed without one.
pub(crate) fn read_head(server: &mut Connection) -> Result<Vec<u8>> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = server.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(with_close(&answer))
}

/// A server that was asked to close says so itself; this makes sure of it.
fn with_close(answer: &[u8]) -> Vec<u8> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return answer.to_vec();
    };
    let (head, rest) = answer.split_at(end);
    if String::from_utf8_lossy(head).to_ascii_lowercase().contains("\r\nconnection: close") {
        return answer.to_vec();
    }
    [head, b"\r\nConnection: close", rest].concat()
}

/// Whose errors are made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Vault,
    Kubernetes,
}

impl Dialect {
    /// An answer that the server did not give, to a request with this method.
    pub(crate) fn made_up(self, status: u16, method: &str) -> Vec<u8> {
        // The API server's flow control says when to come back.
        let field = if self == Self::Kubernetes && status == 429 { "Retry-After: 1\r\n" } else { "" };
        let body = match self {
            Self::Vault => json!({"errors": [MESSAGE]}),
            Self::Kubernetes => status_object(status, method),
        };
        answer(status, field, &body)
    }
}

const MESSAGE: &str = "made up by the testbed's proxy";

/// What the API server sends a watch that starts at a version it has compacted.
pub(crate) fn expired_watch() -> Vec<u8> {
    answer(200, "", &json!({"type": "ERROR", "object": status_object(410, "GET")}))
}

fn answer(status: u16, field: &str, body: &Value) -> Vec<u8> {
    let body = format!("{body}\n");
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Testbed\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         {field}Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn status_object(status: u16, method: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": MESSAGE, "reason": reason(status, method), "code": status,
    })
}

/// The Kubernetes API's reason for a status.
fn reason(status: u16, method: &str) -> &'static str {
    match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 if method == "POST" => "AlreadyExists",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}

pub(crate) fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_on_with_its_body_and_closes() {
        let mut text = &b"PUT /x?y HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabcGET"[..];
        let request = Request::read(&mut text).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/x?y"));
        assert_eq!(request.bytes, b"PUT /x?y HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
        assert!(Request::read(&mut &b""[..]).unwrap().is_none());
    }

    #[test]
    fn made_up_answers_speak_the_servers_dialect() {
        let body = |answer: &[u8]| -> Value {
            let text = std::str::from_utf8(answer).unwrap();
            serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap()
        };
        let busy = Dialect::Kubernetes.made_up(429, "GET");
        assert!(String::from_utf8_lossy(&busy).contains("\r\nRetry-After: 1\r\n"));
        assert_eq!(body(&busy)["reason"], "TooManyRequests");
        assert_eq!(body(&Dialect::Kubernetes.made_up(409, "PUT"))["reason"], "Conflict");
        assert_eq!(body(&Dialect::Kubernetes.made_up(409, "POST"))["reason"], "AlreadyExists");
        assert_eq!(body(&Dialect::Vault.made_up(500, "GET"))["errors"][0], MESSAGE);
        assert_eq!(status_of(&Dialect::Vault.made_up(503, "GET")), Some(503));
        let expired = expired_watch();
        assert_eq!((status_of(&expired), &body(&expired)["object"]["code"]), (Some(200), &json!(410)));
    }

    #[test]
    fn an_answer_says_that_the_connection_ends() {
        let kept = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nbody";
        assert_eq!(with_close(kept), b"HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nbody");
        let closed = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        assert_eq!(with_close(closed), closed);
    }
}
