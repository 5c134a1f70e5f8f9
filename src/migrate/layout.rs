//! What is applied: the files of `sql/`, numbered within each set, and the layouts of tables that the application's functions are for.
//!
//! Why they are listed and not found: a file that was added to the folder but not to the list fails a test instead of a deployment.

/// Migrations that are numbered together, and the table that remembers which were applied.
pub(super) struct Set {
    pub(super) history: &'static str,
    pub(super) prefix: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// Which tables the functions of schema `tidings_app` are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// Tables made by tidings, in schema public.
    Reference,
    /// The application's own, as Prisma makes them: "User", documents, "createdAt", PROCESSED.
    Prisma,
}

impl Layout {
    pub(super) const ALL: [Self; 2] = [Self::Reference, Self::Prisma];

    pub(super) fn set(self) -> &'static Set {
        match self {
            Self::Reference => &APP,
            Self::Prisma => &PRISMA,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Prisma => "prisma",
        }
    }
}

/// What tidings owns in a database.
pub(super) const SCHEMA: Set = Set {
    history: "tidings.schema_history",
    prefix: "",
    files: &[
        ("V1__log", include_str!("../../sql/V1__log.sql")),
        ("V2__capture", include_str!("../../sql/V2__capture.sql")),
        ("V3__watch", include_str!("../../sql/V3__watch.sql")),
        ("V4__compile", include_str!("../../sql/V4__compile.sql")),
        ("V5__functions", include_str!("../../sql/V5__functions.sql")),
        ("V6__attach", include_str!("../../sql/V6__attach.sql")),
        ("V7__preview", include_str!("../../sql/V7__preview.sql")),
        ("V8__retention", include_str!("../../sql/V8__retention.sql")),
        ("V9__doctor", include_str!("../../sql/V9__doctor.sql")),
        ("V10__why", include_str!("../../sql/V10__why.sql")),
        ("V11__roles", include_str!("../../sql/V11__roles.sql")),
        ("V12__watched", include_str!("../../sql/V12__watched.sql")),
        ("V13__cursor", include_str!("../../sql/V13__cursor.sql")),
        ("V14__live", include_str!("../../sql/V14__live.sql")),
        ("V15__polling", include_str!("../../sql/V15__polling.sql")),
        ("V16__consumers", include_str!("../../sql/V16__consumers.sql")),
        ("V17__chat", include_str!("../../sql/V17__chat.sql")),
        ("V18__inbound", include_str!("../../sql/V18__inbound.sql")),
        ("V19__responder", include_str!("../../sql/V19__responder.sql")),
        ("V20__subject", include_str!("../../sql/V20__subject.sql")),
        ("V21__shown", include_str!("../../sql/V21__shown.sql")),
        ("V22__revocation", include_str!("../../sql/V22__revocation.sql")),
        ("V23__trace", include_str!("../../sql/V23__trace.sql")),
        ("V24__room", include_str!("../../sql/V24__room.sql")),
    ],
};

/// The reference application.
pub(super) const APP: Set = Set {
    history: "tidings.app_history",
    prefix: "app/",
    files: &[
        ("V1__tables", include_str!("../../sql/app/V1__tables.sql")),
        ("V2__functions", include_str!("../../sql/app/V2__functions.sql")),
        ("V3__walls", include_str!("../../sql/app/V3__walls.sql")),
        ("V4__documents", include_str!("../../sql/app/V4__documents.sql")),
        ("V5__notifications", include_str!("../../sql/app/V5__notifications.sql")),
        ("V6__chat", include_str!("../../sql/app/V6__chat.sql")),
        ("V7__answers", include_str!("../../sql/app/V7__answers.sql")),
        ("V8__people", include_str!("../../sql/app/V8__people.sql")),
        ("V9__inbound", include_str!("../../sql/app/V9__inbound.sql")),
        ("V10__seen", include_str!("../../sql/app/V10__seen.sql")),
    ],
};

/// The same functions for tables that Prisma made.
pub(super) const PRISMA: Set = Set {
    history: "tidings.prisma_history",
    prefix: "app/prisma/",
    files: &[
        ("V1__shared", include_str!("../../sql/app/prisma/V1__shared.sql")),
        ("V2__state", include_str!("../../sql/app/prisma/V2__state.sql")),
        ("V3__documents", include_str!("../../sql/app/prisma/V3__documents.sql")),
        ("V4__notifications", include_str!("../../sql/app/prisma/V4__notifications.sql")),
        ("V5__sessions", include_str!("../../sql/app/prisma/V5__sessions.sql")),
        ("V6__messages", include_str!("../../sql/app/prisma/V6__messages.sql")),
        ("V7__answers", include_str!("../../sql/app/prisma/V7__answers.sql")),
        ("V8__people", include_str!("../../sql/app/prisma/V8__people.sql")),
        // Layouts differ in tables; this one calls functions only.
        ("V9__inbound", include_str!("../../sql/app/V9__inbound.sql")),
        ("V10__seen", include_str!("../../sql/app/prisma/V10__seen.sql")),
        ("V11__retry", include_str!("../../sql/app/prisma/V11__retry.sql")),
    ],
};
