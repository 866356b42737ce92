// A client that asks for another handshake on its connection, again and again: node renegotiate.js PORT ROOTS
//
// Only TLS 1.2 knows that. Prints the first line of what it got before, and how often it was given another.
"use strict";

const fs = require("fs");
const tls = require("tls");

const [port, roots] = process.argv.slice(2);
const result = {first: "", renegotiated: 0};
const finish = error => {
    result.error = error && (error.code || error.message);
    console.log(JSON.stringify(result));
    process.exit(0);
};
const socket = tls.connect({port, host: "127.0.0.1", servername: "localhost", maxVersion: "TLSv1.2", ca: fs.readFileSync(roots)});
socket.on("error", finish);
socket.on("close", () => finish(new Error("closed")));
socket.on("secureConnect", () => socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));

function again() {
    if (result.renegotiated == 100) finish();
    socket.renegotiate({}, error => {
        if (error) finish(error);
        result.renegotiated += 1;
        again();
    });
}

socket.once("data", data => {
    result.first = data.toString("latin1").split("\r\n")[0];
    again();
});
