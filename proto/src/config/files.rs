//! The files that a configuration names: where they are, what each is for, and which line names it.

use core::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use super::ini::{self, Line};
use super::{Config, Identity, value};

/// A file of the operator's. Its debug output shows the path and the length, since it may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds; the runtime fills it in, the core reads no files.
    pub body: Bytes,
}

impl File {
    /// A file that has not been read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), body: Bytes::new() }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?}, {} bytes)", self.path, self.body.len())
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileUse {
    /// It is shown for a status (`error-page`).
    ErrorPage(u16),
    /// It is the certificate of a host (a place in [`Config::hosts`]), or of hosts without one (`certificate`).
    Certificate(Option<usize>),
    /// It is the key of that certificate (`key`).
    Key(Option<usize>),
    /// It is the answer of the OCSP server of a host's certificate (`ocsp`).
    Ocsp(usize),
    /// It has the certificates that vouch for a host's clients (`client-ca`).
    ClientCa(usize),
}

impl FileUse {
    /// The key that names the file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::ErrorPage(_) => "error-page",
            Self::Certificate(_) => "certificate",
            Self::Key(_) => "key",
            Self::Ocsp(_) => "ocsp",
            Self::ClientCa(_) => "client-ca",
        }
    }

    /// What the file should be, to be written behind what is wrong with it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ErrorPage(_) => "write a status and the path of a page, such as 503 /etc/busy.html",
            Self::Certificate(_) => {
                "write the path of a PEM file: the host's certificate, then those that vouch for it"
            }
            Self::Key(_) => "write the path of a PEM file with the key of the certificate, not encrypted",
            Self::Ocsp(_) => "write the path of an OCSP response in DER, as openssl ocsp -respout saves it",
            Self::ClientCa(_) => "write the path of a PEM file with the certificates that vouch for clients",
        }
    }

    /// Whether TLS is what it is for.
    pub const fn is_of_tls(self) -> bool {
        match self {
            Self::ErrorPage(_) => false,
            Self::Certificate(_) | Self::Key(_) | Self::Ocsp(_) | Self::ClientCa(_) => true,
        }
    }

    /// The line of `text` that names the file, if `config` was read from it; otherwise 0.
    pub fn line(self, config: &Config, text: &[u8]) -> usize {
        let host = match self {
            Self::ErrorPage(_) => None,
            Self::Certificate(host) | Self::Key(host) => host,
            Self::Ocsp(host) | Self::ClientCa(host) => Some(host),
        };
        let has_value = |text: &str| match self {
            Self::ErrorPage(status) => value::first_word(text).0.parse() == Ok(status),
            Self::Certificate(_) | Self::Key(_) | Self::Ocsp(_) | Self::ClientCa(_) => true,
        };
        let (mut is_meant, mut found) = (false, 0);
        for (line, content) in ini::read(text) {
            match content {
                Ok(Line::Section(name)) => is_meant = config.is_section(name, host),
                Ok(Line::Entry { key, value }) if is_meant && key == self.key() && has_value(value) => found = line,
                Ok(Line::Entry { .. }) | Err(_) => {}
            }
        }
        found
    }
}

impl Config {
    /// The files that the configuration names, with what each is for. Fill in their contents before the configuration
    /// is used.
    pub fn files_mut(&mut self) -> impl Iterator<Item = (FileUse, &mut File)> {
        let pages = self.error_pages.iter_mut().map(|(status, page)| (FileUse::ErrorPage(*status), page));
        let shared = self.identity.iter_mut().flat_map(|identity| identity.files_mut(None));
        let hosts = self.hosts.iter_mut().enumerate().flat_map(|(index, host)| {
            let identity = host.identity.iter_mut().flat_map(move |identity| identity.files_mut(Some(index)));
            let ocsp = host.ocsp.iter_mut().map(move |file| (FileUse::Ocsp(index), file));
            identity.chain(ocsp).chain(host.client_ca.iter_mut().map(move |file| (FileUse::ClientCa(index), file)))
        });
        pages.chain(shared).chain(hosts)
    }

    /// The file for a use, if the configuration has one.
    pub fn file(&self, usage: FileUse) -> Option<&File> {
        let identity = |host: Option<usize>| match host {
            None => self.identity.as_ref(),
            Some(host) => self.hosts.get(host)?.identity.as_ref(),
        };
        match usage {
            FileUse::ErrorPage(status) => self.error_pages.get(&status),
            FileUse::Certificate(host) => identity(host).map(|identity| &identity.certificate),
            FileUse::Key(host) => identity(host).map(|identity| &identity.key),
            FileUse::Ocsp(host) => self.hosts.get(host)?.ocsp.as_ref(),
            FileUse::ClientCa(host) => self.hosts.get(host)?.client_ca.as_ref(),
        }
    }

    /// The first line of `text` with the section of a host, if the configuration was read from it; otherwise 0.
    pub fn line_of_host(&self, host: usize, text: &[u8]) -> usize {
        let is_it = |content: &Line<'_>| matches!(content, Line::Section(name) if self.is_section(name, Some(host)));
        ini::read(text).find(|(_, content)| content.as_ref().is_ok_and(is_it)).map_or(0, |(line, _)| line)
    }

    /// Whether `section` is that of a host, or the global one.
    fn is_section(&self, section: &str, host: Option<usize>) -> bool {
        match host {
            None => section == "blastbeat",
            Some(host) => section
                .strip_prefix("blastbeat:")
                .is_some_and(|name| self.hosts.get(host).is_some_and(|host| host.name.eq_ignore_ascii_case(name))),
        }
    }
}

impl Identity {
    fn files_mut(&mut self, host: Option<usize>) -> [(FileUse, &mut File); 2] {
        [(FileUse::Certificate(host), &mut self.certificate), (FileUse::Key(host), &mut self.key)]
    }
}
