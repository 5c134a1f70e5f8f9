//! A disk that is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidings::private_postgres::{Options, PrivatePostgres};

use super::scene::Scene;
use crate::support::eventually;

/// A small file system of its own. Mounting needs root.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// None where this process may not mount; says so.
    fn mount(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let of = std::fs::metadata(path).unwrap();
        let options = format!("size=48m,mode=0700,uid={},gid={}", of.uid(), of.gid());
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tidings-test"]).arg(path).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self { path: path.to_owned() }),
            Ok(done) => {
                println!(
                    "skipped: no file system may be mounted here: {}",
                    String::from_utf8_lossy(&done.stderr).trim()
                );
                None
            }
            Err(error) => {
                println!("skipped: mount cannot be run: {error}");
                None
            }
        }
    }

    fn balloon(&self) -> PathBuf {
        self.path.join("balloon")
    }

    /// Leaves no byte to anybody.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.balloon()).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.balloon()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server has files open on it.
        _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

/// Where the log's disk is full and the application's is not, a write is refused, of one row or of thousands: what was committed is
/// in the log.
#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_none_that_it_took() {
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let directory = server.directory("small").unwrap();
    let Some(disk) = Disk::mount(&directory) else { return };
    let scene = Scene::on(&server).await;
    scene.db.run(&format!("create tablespace small location '{}'", directory.display())).await;
    let partitions = "select inhrelid::regclass::text from pg_inherits where inhparent = 'tidings._log'::regclass";
    for row in scene.db.client.query(partitions, &[]).await.unwrap() {
        scene.db.run(&format!("alter table {} set tablespace small", row.get::<_, &str>(0))).await;
    }
    scene.flows().await;
    for round in 0..2 {
        disk.fill();
        let other = scene.db.connect().await;
        eventually("a write is refused", || async {
            let small = "insert into documents (id, tenant_id, name) values ('f', 'initech', repeat('x', 1000))
                         on conflict (id) do update set size = coalesce(documents.size, 0) + 1";
            let refused = other.batch_execute(small).await;
            refused.is_err_and(|error| error.code().is_some_and(|code| code.code() == "53100"))
        })
        .await;
        let large = format!(
            "insert into documents (id, tenant_id, name) select 'l{round}-' || n, 'initech', 'x' from generate_series(1, 3000) n"
        );
        let refused = other.batch_execute(&large).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "53100", "{refused}");
        let missed = "select count(*)::int from tidings._missed";
        assert_eq!(scene.db.client.query_one(missed, &[]).await.unwrap().get::<_, i32>(0), 0);
        disk.make_room();
        scene.recovers().await;
    }
    scene.finish().await;
}
