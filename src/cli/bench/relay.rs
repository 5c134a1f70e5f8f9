//! The bare relay: LISTEN and one write per socket, nothing else. The yardstick of every figure.
//!
//! It runs as a child process, like the server, so that its CPU time is counted in the same way. It keeps no tenants, no
//! log and no cursors, and a client that does not read holds up everybody: what is measured is the price of all that.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::AsyncMessage;

use super::BenchError;

/// Where the bare trigger notifies.
pub const CHANNEL: &str = "bench_bare";

/// Relays notifications of `database` to whoever connects to `listen`, until killed.
///
/// # Errors
/// When the database or the address cannot be used, or the database closes the connection.
pub async fn run(listen: SocketAddr, database: &str) -> Result<(), BenchError> {
    let (client, mut connection) = super::connect(database).await?;
    let listening = format!("listen {CHANNEL}");
    let listening = client.batch_execute(&listening);
    tokio::pin!(listening);
    let mut heard = false;
    let mut listener = None;
    let mut clients: Vec<TcpStream> = Vec::new();
    loop {
        // Woken by: LISTEN is committed · a notification · a new client.
        tokio::select! {
            done = &mut listening, if !heard => {
                done.map_err(BenchError::database)?;
                heard = true;
                listener = Some(TcpListener::bind(listen).await.map_err(BenchError::io("listen"))?);
            }
            message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    let block = format!("data: {}\n\n", notification.payload());
                    write_to_all(&mut clients, block.as_bytes()).await;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(BenchError::database(error)),
                None => return Err(BenchError::ChildEnded { name: "the database" }),
            },
            accepted = accept(listener.as_ref()) => {
                let socket = accepted.map_err(BenchError::io("accept"))?;
                socket.set_nodelay(true).map_err(BenchError::io("accept"))?;
                clients.push(socket);
                if let Some(new) = clients.last() && write_all(new, b"event: hello\n\n").await.is_err() {
                    clients.pop();
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(socket, _)| socket),
        None => std::future::pending().await,
    }
}

async fn write_to_all(clients: &mut Vec<TcpStream>, block: &[u8]) {
    let mut gone = Vec::new();
    for (index, socket) in clients.iter().enumerate() {
        if write_all(socket, block).await.is_err() {
            gone.push(index);
        }
    }
    for index in gone.into_iter().rev() {
        clients.swap_remove(index);
    }
}

/// One write, or more if the socket is full.
async fn write_all(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
