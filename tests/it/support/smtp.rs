//! An SMTP server of somebody else: it keeps the letters that it takes and refuses as the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// A letter as it came over the wire.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: String,
    pub text: String,
}

impl Letter {
    /// The value of a header, unfolded; empty where it is absent.
    pub fn header(&self, name: &str) -> String {
        let head = self.text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let found = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        found.unwrap_or_default()
    }
}

/// It lives as long as the test.
pub struct Smtp {
    pub address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Smtp {
    /// Answers RCPT as `answer` says, which gets the recipient and how many were asked for before: "250 ok".
    pub async fn start(answer: impl Fn(&str, usize) -> &'static str + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let smtp = Self { address: socket.local_addr().unwrap(), letters: Arc::default(), asked: Arc::default() };
        let (letters, asked, answer) = (smtp.letters.clone(), smtp.asked.clone(), Arc::new(answer));
        TaskTracker::new().spawn(async move {
            let tasks = TaskTracker::new();
            while let Ok((stream, _)) = socket.accept().await {
                let (letters, asked, answer) = (letters.clone(), asked.clone(), answer.clone());
                // A client that leaves in the middle is no error here.
                tasks.spawn(async move { drop(talk(stream, &letters, &asked, &*answer).await) });
            }
        });
        smtp
    }

    pub async fn ok() -> Self {
        Self::start(|_, _| "250 ok").await
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    /// The recipients of all attempts.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub async fn wait(&self, count: usize) -> Vec<Letter> {
        super::eventually(&format!("{count} letters came"), || async { self.letters().len() >= count }).await;
        self.letters()
    }
}

async fn talk(
    stream: TcpStream,
    letters: &Mutex<Vec<Letter>>,
    asked: &Mutex<Vec<String>>,
    answer: &(impl Fn(&str, usize) -> &'static str + Send + Sync),
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 test\r\n").await?;
    let mut to = String::new();
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        let said = match verb.as_str() {
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or("").to_owned();
                let mut asked = asked.lock().unwrap();
                asked.push(to.clone());
                answer(&to, asked.len() - 1)
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    text += line.strip_prefix('.').unwrap_or(&line);
                    text += "\r\n";
                }
                letters.lock().unwrap().push(Letter { to: to.clone(), text });
                "250 taken"
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok",
        };
        write.write_all(format!("{said}\r\n").as_bytes()).await?;
    }
    Ok(())
}
