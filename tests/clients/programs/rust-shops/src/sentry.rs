//! One program of a user: what the Sentry SDK for Rust sends. Arguments: DSN, release, and `crash` to end by a segfault.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use sentry::integrations::minidump::MinidumpIntegration;
use sentry::protocol::{Attachment, Breadcrumb, Unit, User};
use sentry::{ClientOptions, TransactionContext};

/// The SDK does not say its own at run time. A test reads it in Cargo.toml.
const VERSION: &str = "0.49.5";

#[derive(Debug)]
struct CardExpired;

#[derive(Debug)]
struct PaymentRefused(CardExpired);

impl fmt::Display for CardExpired {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "card expired")
    }
}

impl fmt::Display for PaymentRefused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "no payment of 3")
    }
}

impl Error for CardExpired {}

impl Error for PaymentRefused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn user() -> User {
    User {
        id: Some("u-42".into()),
        email: Some("ada@example.com".into()),
        username: Some("ada".into()),
        ..User::default()
    }
}

fn capture_error() -> String {
    sentry::add_breadcrumb(Breadcrumb {
        category: Some("cart".into()),
        message: Some("added 3 apples".into()),
        ..Breadcrumb::default()
    });
    let apples = Attachment {
        buffer: b"3 apples".to_vec(),
        filename: "cart.txt".into(),
        content_type: Some("text/plain".into()),
        ty: None,
    };
    sentry::with_scope(
        |scope| {
            scope.set_tag("till", "seven");
            scope.add_attachment(apples);
        },
        || {
            sentry::capture_error(&PaymentRefused(CardExpired))
                .simple()
                .to_string()
        },
    )
}

fn shop() -> serde_json::Value {
    sentry::configure_scope(|scope| scope.set_user(Some(user())));
    sentry::start_session();
    let root = sentry::start_transaction(TransactionContext::new("close till", "task"));
    let trace = root.get_trace_context();
    let child = root.start_child("db.query", "SELECT cart");
    let child_id = child.get_span_id();
    sentry::configure_scope(|scope| scope.set_span(Some(child.clone().into())));
    sentry::logger_warn!(sku = "A-1", "stock is low: {}", 2);
    child.finish();
    sentry::configure_scope(|scope| scope.set_span(Some(root.clone().into())));
    sentry::metrics::counter("cart.added", 3)
        .attribute("shop", "A")
        .capture();
    sentry::metrics::gauge("queue.length", 7).capture();
    sentry::metrics::distribution("page.load", 12.5)
        .unit(Unit::Millisecond)
        .capture();
    let error_id = capture_error();
    root.finish();
    sentry::end_session();
    serde_json::json!({
        "version": VERSION,
        "error_id": error_id,
        "trace_id": trace.trace_id.to_string(),
        "root": trace.span_id.to_string(),
        "child": child_id.to_string(),
    })
}

/// The reporter is a process of its own: what it should know is sent to it.
fn crash() {
    sentry::with_integration(|minidump: &MinidumpIntegration, _| {
        minidump.set_user(Some(user()));
        minidump.set_tag("till".into(), Some("seven".into()));
        minidump.add_breadcrumb(Breadcrumb {
            message: Some("added 3 apples".into()),
            ..Breadcrumb::default()
        });
    });
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let crashes = arguments.get(3).is_some_and(|word| word == "crash");
    let mut options = ClientOptions::new()
        .dsn(&arguments[1])
        .release(arguments[2].clone())
        .environment("staging")
        .server_name("till-7")
        .traces_sample_rate(1.0)
        .send_default_pii(true)
        .attach_stacktrace(true);
    if crashes {
        let folder = std::env::var("CRASHES").expect("CRASHES: a folder for dumps");
        options = options.add_integration(
            MinidumpIntegration::new()
                .crashes_dir(folder)
                .flush_timeout(Duration::from_secs(20)),
        );
    }
    let guard = sentry::init(options);
    if crashes {
        crash();
    }
    let said = shop();
    assert!(
        guard.close(Some(Duration::from_secs(20))),
        "not everything was sent within 20 s"
    );
    println!("{said}");
}
