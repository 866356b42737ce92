// The http2 module of node as the client: node h2_client.js URL ROOTS
//
// Asks, uploads, pings, and speaks WebSocket on streams (with the ws package), all on one connection; prints how much of it
// was right.
"use strict";

const fs = require("fs");
const http2 = require("http2");
const crypto = require("crypto");
const {WebSocket} = require("ws");

const [url, roots] = process.argv.slice(2);
const session = http2.connect(url, {ca: fs.readFileSync(roots)});
const fail = error => { console.error(error); process.exit(1); };
session.on("error", fail);
setTimeout(() => fail(new Error("it takes too long")), 60000).unref();

function ask(head, body) {
    return new Promise((resolve, reject) => {
        const stream = session.request(head);
        const pieces = [];
        let status;
        stream.on("response", fields => status = fields[":status"]);
        stream.on("data", piece => pieces.push(piece));
        stream.on("end", () => resolve({status, body: Buffer.concat(pieces)}));
        stream.on("error", reject);
        stream.end(body);
    });
}

// RFC 8441: what ws would do on a socket of its own, on a stream.
function websocket(path, messages) {
    return new Promise((resolve, reject) => {
        const stream = session.request({":method": "CONNECT", ":protocol": "websocket", ":path": path, "sec-websocket-version": "13"},
            {endStream: false});
        stream.on("error", reject);
        stream.on("response", fields => {
            if (fields[":status"] != 200) return reject(new Error(`status ${fields[":status"]}`));
            const client = new WebSocket(null, undefined, {autoPong: true, closeTimeout: 60000});
            stream.setNoDelay = stream.setKeepAlive = () => {};
            client._isServer = false;
            client.setSocket(stream, Buffer.alloc(0), {allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false});
            const expected = [...messages];
            client.on("error", reject);
            client.on("message", (data, isBinary) => {
                const message = expected.shift();
                if (isBinary != Buffer.isBuffer(message) || !data.equals(Buffer.from(message))) reject(new Error("another message"));
                if (!expected.length) client.close(1000);
            });
            client.on("close", code => code == 1000 && !expected.length ? resolve() : reject(new Error(`closed with ${code}`)));
            messages.forEach(message => client.send(message));
        });
    });
}

(async () => {
    const result = {answers: 0, uploads: 0, pings: 0, websockets: 0};
    await new Promise(resolve => session.once("remoteSettings", resolve));
    if (!session.remoteSettings.enableConnectProtocol) fail(new Error("no extended CONNECT"));
    result.protocol = session.alpnProtocol;
    await Promise.all(Array.from({length: 200}, async (_, n) => {
        const {status, body} = await ask({":path": `/${n}`});
        if (status == 200 && body.toString() == `one GET /${n}`) result.answers += 1;
    }));
    await Promise.all(Array.from({length: 5}, async (_, n) => {
        const sent = crypto.randomBytes(500000 * n + 1);
        const {status, body} = await ask({":path": "/", ":method": "POST", "content-length": sent.length}, sent);
        if (status == 200 && body.equals(sent)) result.uploads += 1;
    }));
    for (let n = 0; n < 3; n += 1)
        await new Promise((resolve, reject) => session.ping((error, _, payload) => error ? reject(error) : resolve(result.pings += 1)));
    const messages = ["", "Hello", "x".repeat(70000), Buffer.alloc(300000, 7), Buffer.alloc(0)];
    await Promise.all(Array.from({length: 5}, async (_, n) => {
        await websocket(`/${n}`, messages);
        result.websockets += 1;
    }));
    console.log(JSON.stringify(result));
    process.exit(0);
})().catch(fail);
