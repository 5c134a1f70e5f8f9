//! A server that speaks OpenAI's chat completions over a real socket, and does what a test tells it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// A stream of these words, to its end.
    Words(Vec<String>),
    /// A stream that waits before its last word until the test lets it go on.
    Held(Vec<String>),
    /// A stream that is cut off after these words.
    Cut(Vec<String>),
    /// A refusal, with further header lines.
    Status(u16, &'static str),
    /// This body, as JSON.
    Body(String),
    /// These bytes, as a stream.
    Raw(&'static str),
    /// No answer at all.
    Silence,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub head: String,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Role and content of what was told.
    pub fn told(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let messages = self.json()["messages"].as_array().unwrap().clone();
        messages.iter().map(|line| (text(&line["role"]), text(&line["content"]))).collect()
    }
}

#[derive(Default)]
struct Inner {
    script: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<Asked>>,
    /// Beginning and end of each request, by its system prompt.
    times: Mutex<Vec<(String, bool)>>,
}

pub struct Model {
    pub url: String,
    inner: Arc<Inner>,
    /// Lets held streams go on.
    pub gate: Arc<Semaphore>,
}

impl Model {
    /// Does these things in turn, then says back what it was asked.
    pub async fn with(script: impl IntoIterator<Item = Act>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/", socket.local_addr().unwrap());
        let inner = Arc::new(Inner { script: Mutex::new(script.into_iter().collect()), ..Inner::default() });
        let gate = Arc::new(Semaphore::new(0));
        let (served, held) = (inner.clone(), gate.clone());
        TaskTracker::new().spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let (served, held) = (served.clone(), held.clone());
                // An error is a client that went away.
                TaskTracker::new().spawn(async move { _ = serve(stream, &served, &held).await });
            }
        });
        Self { url, inner, gate }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.inner.asked.lock().unwrap().clone()
    }

    pub fn times(&self) -> Vec<(String, bool)> {
        self.inner.times.lock().unwrap().clone()
    }
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn serve(mut stream: TcpStream, inner: &Inner, gate: &Semaphore) -> std::io::Result<()> {
    let asked = read(&mut stream).await?;
    let spoken = serde_json::from_str::<Value>(&asked.body).unwrap_or_default();
    let who = spoken["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    inner.times.lock().unwrap().push((who.clone(), true));
    let said = spoken["messages"].as_array().and_then(|lines| lines.last()?["content"].as_str()).unwrap_or_default();
    let back: Vec<String> = format!("Answer to: {said}").split_inclusive(' ').map(str::to_owned).collect();
    inner.asked.lock().unwrap().push(asked);
    let act = inner.script.lock().unwrap().pop_front().unwrap_or(Act::Words(back));
    perform(&mut stream, act, gate).await?;
    inner.times.lock().unwrap().push((who, false));
    stream.shutdown().await
}

async fn perform(stream: &mut TcpStream, act: Act, gate: &Semaphore) -> std::io::Result<()> {
    const STREAM: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    match act {
        Act::Words(words) => {
            stream.write_all(STREAM.as_bytes()).await?;
            // What proxies send to keep a stream open.
            chunk(stream, ": waiting\n\n").await?;
            say(stream, &words).await?;
            finish(stream).await
        }
        Act::Held(words) => {
            stream.write_all(STREAM.as_bytes()).await?;
            let (last, first) = words.split_last().unwrap();
            say(stream, first).await?;
            gate.acquire().await.unwrap().forget();
            say(stream, std::slice::from_ref(last)).await?;
            finish(stream).await
        }
        Act::Cut(words) => {
            stream.write_all(STREAM.as_bytes()).await?;
            say(stream, &words).await
        }
        Act::Status(status, more) => {
            let body = r#"{"error":{"message":"a secret of the model"}}"#;
            let head = format!(
                "HTTP/1.1 {status} No\r\n{more}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await
        }
        Act::Body(body) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await
        }
        Act::Raw(data) => {
            stream.write_all(STREAM.as_bytes()).await?;
            chunk(stream, data).await?;
            stream.write_all(b"0\r\n\r\n").await
        }
        Act::Silence => std::future::pending().await,
    }
}

async fn say(stream: &mut TcpStream, words: &[String]) -> std::io::Result<()> {
    for word in words {
        let part =
            json!({"model": "m-1-0613", "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": null}]});
        chunk(stream, &format!("data: {part}\n\n")).await?;
    }
    Ok(())
}

async fn finish(stream: &mut TcpStream) -> std::io::Result<()> {
    chunk(stream, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n").await?;
    chunk(stream, "data: {\"choices\":[],\"usage\":{\"total_tokens\":12}}\n\ndata: [DONE]\n\n").await?;
    stream.write_all(b"0\r\n\r\n").await
}

async fn chunk(stream: &mut TcpStream, data: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes()).await?;
    stream.flush().await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        } else if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        stream.read_buf(&mut body).await?;
    }
    Ok(Asked { at: Instant::now(), head, body: String::from_utf8(body).unwrap() })
}
