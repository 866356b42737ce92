// spdy-transport of npm as the client: node spdy_client.js JOB VERSION PORT HOST [ROOTS]
//
// Does one job on a connection of one version of SPDY, in clear text or, with the certificates of an authority, by TLS;
// prints what came of it. The tests know what should.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const https = require("https");
const net = require("net");
const tls = require("tls");
const spdy = require("spdy");
const transport = require("spdy-transport");

const [job, version, port, host, roots] = process.argv.slice(2);
const MEBIBYTE = 1024 * 1024;
const WINDOW = 65536;
const fail = error => { console.error(error); process.exit(1); };
setTimeout(() => fail(new Error("it takes too long")), 200000).unref();

const secure = {host: "127.0.0.1", port, servername: host, ca: roots && fs.readFileSync(roots)};
const say = result => fs.writeSync(1, JSON.stringify(result) + "\n");
const digest = bytes => crypto.createHash("sha256").update(bytes).digest("hex");

function dial() {
    return new Promise((resolve, reject) => {
        const protocol = `spdy/${version}`;
        const socket = roots ? tls.connect({...secure, ALPNProtocols: [protocol]}) : net.connect(port, "127.0.0.1");
        socket.setNoDelay(true);
        socket.once("error", reject);
        socket.once(roots ? "secureConnect" : "connect", () => {
            if (roots && socket.alpnProtocol !== protocol) return reject(new Error(`by ALPN: ${socket.alpnProtocol}`));
            const connection = transport.connection.create(socket, {protocol: "spdy", isServer: false, windowSize: WINDOW});
            // Whoever is refused hears of it by the streams.
            connection.on("error", error => connection.failure = error.message);
            connection.start(+version);
            resolve(connection);
        });
    });
}

// Begins a request, shows its stream to `begun` once it is sent, and waits for the head of its answer. From there on the stream
// is the caller's.
function begin(connection, {path = "/", method = "GET", headers = {}, body}, begun = () => {}) {
    return new Promise((resolve, reject) => {
        const stream = connection.request({method, path, host, headers}, error => {
            if (error) return reject(error);
            begun(stream);
            body === undefined ? stream.end() : stream.end(body);
        });
        const pieces = [];
        const whole = new Promise((resolve, reject) => {
            stream.once("end", () => resolve(Buffer.concat(pieces)));
            stream.on("error", reject);
            stream.once("close", error => error && reject(error));
        });
        whole.catch(reject);
        const read = () => stream.on("data", piece => pieces.push(piece)) && whole;
        stream.once("response", (status, headers) => resolve({stream, status, headers, read}));
    });
}

async function ask(connection, request = {}, begun) {
    const {status, headers, read} = await begin(connection, request, begun);
    return {status, headers, body: await read()};
}

const text = async (connection, request, begun) => {
    const {status, body} = await ask(connection, typeof request === "string" ? {path: request} : request, begun);
    return `${status} ${body}`;
};

const refused = promise => promise.then(() => "served", error => error.message);
const ping = connection => new Promise(resolve => connection.ping(resolve));

const jobs = {
    // What it says of itself, and its values that are several.
    async page() {
        const connection = await dial();
        const headers = {"User-Agent": "npm", cookie: ["x=1", "y=2"], accept: ["a", "b"], "x-one": "1", scheme: "gopher"};
        const page = await ask(connection, {path: "/several?b", headers});
        const text = page.body.toString();
        const head = await ask(connection, {path: "/", method: "HEAD"});
        return {status: page.status, headers: page.headers, text, head: [head.status, head.body.length]};
    },

    async parallel() {
        const connection = await dial();
        const asked = Array.from({length: 100}, (_, n) => text(connection, `/${n}`));
        return {answers: await Promise.all(asked)};
    },

    async pings() {
        const connection = await dial();
        for (let n = 0; n < 5; n += 1) await ping(connection);
        return {pings: 5, after: await text(connection, "/")};
    },

    async echo() {
        const connection = await dial();
        const sizes = [0, 1, 50000, ...(version === "2" ? [] : [200000])];
        const equal = await Promise.all(sizes.map(async size => {
            const sent = crypto.randomBytes(size);
            const {body} = await ask(connection, {path: "/echo", method: "POST", headers: {"content-length": size}, body: sent});
            return body.equals(sent);
        }));
        return {equal};
    },

    // In SPDY/2 the package waits for windows, which there are none of: its bodies have to be smaller than one.
    async upload() {
        const connection = await dial();
        const sent = crypto.randomBytes(version === "2" ? 50000 : 10 * MEBIBYTE);
        const upload = headers => text(connection, {path: "/digest", method: "POST", headers, body: sent});
        const announced = await upload({"content-length": sent.length});
        const unannounced = await upload({});
        return {sent: `200 ${sent.length} ${digest(sent)}`, announced, unannounced};
    },

    // The reader takes nothing until nothing more can come.
    async download() {
        const connection = await dial();
        const {socket} = connection, {parser} = connection._spdyState;
        let came = 0;
        let moved = () => {};
        connection.on("frame", frame => { came += frame.type === "DATA" ? frame.data.length : 0; moved(); });
        const {read} = await begin(connection, {path: `/bytes?${10 * MEBIBYTE}`});
        if (version === "2") {
            socket.unpipe(parser);
        } else {
            await new Promise(resolve => { moved = () => came >= WINDOW && resolve(); moved(); });
        }
        const beside = await text(await dial(), "/beside");
        let held = null;
        if (version === "2") {
            socket.pipe(parser);
        } else {
            await ping(connection);
            held = came;
        }
        const body = await read();
        return {held, beside, length: body.length, digest: digest(body), after: await text(connection, "/after")};
    },

    async pushes() {
        const connection = await dial();
        const pushed = [];
        const take = async push => {
            push.on("pushPromise", nested => pushed.push(take(nested)));
            const pieces = [];
            push.on("data", piece => pieces.push(piece));
            const ended = new Promise((resolve, reject) => push.once("end", resolve).once("error", reject));
            const status = await new Promise(resolve => push.once("response", resolve));
            await ended;
            return {path: push.path, method: push.method, host: push.host, type: push.headers["content-type"], status,
                digest: digest(Buffer.concat(pieces))};
        };
        const answer = await text(connection, {path: "/push"}, stream => stream.on("pushPromise", push => pushed.push(take(push))));
        const all = [];
        while (pushed.length > all.length) all.push(await pushed[all.length]);
        return {answer, pushed: all, after: await text(connection, "/after")};
    },

    // Whoever does not listen for pushes takes them back, each by itself.
    async pushes_taken_back() {
        const connection = await dial();
        return {answer: await text(connection, "/push"), after: await text(connection, "/after")};
    },

    async resets() {
        const connection = await dial();
        const {stream, status, read} = await begin(connection, {path: "/forever"});
        const whole = refused(read());
        await new Promise(resolve => stream.once("data", resolve));
        const kept = text(connection, {path: "/echo", method: "POST", headers: {"content-length": 4}, body: Buffer.from("kept")});
        stream.abort();
        return {begun: status, ended: await whole, kept: await kept, after: await text(connection, "/after")};
    },

    async breaks() {
        const connection = await dial();
        const within = await refused(ask(connection, {path: "/break/within"}));
        return {before: await text(connection, "/break/before"), within, after: await text(connection, "/after")};
    },

    async balanced() {
        const connection = await dial();
        return {answers: await Promise.all(Array.from({length: 20}, (_, n) => text(connection, `/${n}`)))};
    },

    // Says when it has got what it asked for, and waits to be told to go.
    async goaway() {
        const connection = await dial();
        const answers = await Promise.all([1, 2, 3].map(n => text(connection, `/${n}`)));
        const closed = new Promise(resolve => connection.socket.once("close", hadError => resolve(hadError)));
        const said = new Promise(resolve => {
            connection.on("frame", frame => frame.type === "GOAWAY" && resolve([frame.lastId, frame.code]));
            // In SPDY/2 it has four bytes, and the package wants eight.
            connection.once("error", error => resolve(error.message));
        });
        say({answers});
        return {said: await said, later: await refused(ask(connection, {path: "/later"})), hadError: await closed};
    },

    // The agent of the spdy package, under http and https of node. It cannot send bodies on a node of today.
    async agent() {
        const protocol = `spdy/${version}`;
        const agent = spdy.createAgent({...secure, host, spdy: roots ? {protocols: [protocol]} : {plain: true, protocol}});
        agent.on("error", fail);
        agent.setMaxListeners(0);
        return {answers: await Promise.all(Array.from({length: 20}, (_, n) => new Promise((resolve, reject) => {
            const request = (roots ? https : http).get({path: `/${n}`, agent}, response => {
                const pieces = [];
                response.on("data", piece => pieces.push(piece));
                response.on("end", () => resolve(`${response.statusCode} ${Buffer.concat(pieces)}`));
            });
            request.on("error", reject);
        })))};
    },
};

jobs[job]().then(result => { say(result); process.exit(0); }, fail);
