// The clients of npm, one generation a run: node socketio_client.js GENERATION RUN...
//
// A run is TRANSPORT,KIND,URL: what moves its packets (polling, websocket, or upgrade from the one to the other), and
// what the node behind that URL knows (all of socket.io, or plain events). The runs go on side by side. Prints a line of
// JSON: for each run its checks by name, each true or what was wrong.
"use strict";

const io = require(`socket.io-client-${process.argv[2]}`);

const generation = Number(process.argv[2]);
const runs = process.argv.slice(3);
const patience = 60000;

const names = generation
    ? {polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"]}
    : {polling: ["xhr-polling"], websocket: ["websocket"], upgrade: ["websocket", "xhr-polling"]};

function within(promise, what) {
    let clock;
    const late = new Promise((_, reject) => {
        clock = setTimeout(() => reject(new Error(`${what} takes too long`)), patience).unref();
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(clock));
}

// The arguments of the next event of that name.
function next(socket, event) {
    return within(new Promise(resolve => socket.once(event, (...args) => resolve(args))), event);
}

function ask(socket, ...event) {
    return within(new Promise(resolve => socket.emit(...event, (...args) => resolve(args))), `the answer to ${event[0]}`);
}

function sleep(milliseconds) {
    return new Promise(resolve => setTimeout(resolve, milliseconds));
}

async function until(isSo) {
    for (let left = patience / 20; !isSo() && left; left -= 1) await sleep(20);
}

// Buffers are equal if their bytes are.
function plainly(value) {
    return JSON.stringify(value, (_, inner) =>
        inner instanceof ArrayBuffer || ArrayBuffer.isView(inner) ? {bytes: [...new Uint8Array(inner)]} :
        inner && inner.type == "Buffer" ? {bytes: inner.data} : inner);
}

function same(got, wanted) {
    const [one, other] = [plainly(got), plainly(wanted)];
    if (one != other) throw new Error(`${String(one).slice(0, 200)} instead of ${String(other).slice(0, 200)}`);
}

function open(url, transports) {
    if (!generation) {
        // It writes what is asked for into its own defaults.
        io.transports = [...transports];
        return io.connect(url, {"force new connection": true, reconnect: false, "connect timeout": patience});
    }
    return io(url, {transports, forceNew: true, reconnection: false, timeout: patience, auth: {token: "main"}, query: "who=main"});
}

// Another namespace of the same connection.
function enter(socket, namespace, token) {
    if (!generation) return socket.of(namespace);
    // It would hand out the socket that it has.
    delete socket.io.nsps[namespace];
    return socket.io.socket(namespace, token ? {auth: {token}, query: `token=${token}`} : {});
}

function transport(socket) {
    return generation ? socket.io.engine.transport.name : socket.socket.transport.name;
}

function isConnected(socket) {
    return generation ? socket.connected : socket.socket.connected;
}

async function echo(socket, ...args) {
    const back = next(socket, "echo");
    socket.emit("echo", ...args);
    same(await back, args);
}

const checks = {
    async "the transport that was asked for"({socket, way}) {
        const wanted = generation ? (way == "polling" ? "polling" : "websocket") : names[way][0];
        await until(() => transport(socket) == wanted);
        same(transport(socket), wanted);
    },
    async "auth"({greeting, kind}) {
        if (kind == "plain") return;
        same(await greeting, [generation >= 4 ? {token: "main"} : {}]);
    },
    async "text"({socket}) {
        await echo(socket, "hello");
        await echo(socket);
        await echo(socket, "");
    },
    async "unicode"({socket}) {
        await echo(socket, "h\u00e9llo \u20ac \u{1F600} \u2028 \ufffd 1:2::3 \\ \"");
    },
    async "JSON"({socket}) {
        await echo(socket, {a: [1, -2.5e3, {b: null}], "": "x:y:z\n\"q\"", "ключ": []}, 42, true, null);
    },
    async "60 kB"({socket}) {
        await echo(socket, "x".repeat(60000));
    },
    async "messages"({socket}) {
        const back = next(socket, "message");
        socket.send("as it \u20ac is");
        same(await back, ["as it \u20ac is"]);
        const json = next(socket, "message");
        (generation ? socket : socket.json).send({k: [1]});
        same(await json, [{k: [1]}]);
    },
    async "binary"({socket, kind}) {
        if (!generation) return;
        const [small, large] = [Buffer.from([1, 2, 3, 255]), Buffer.alloc(1000, 7)];
        if (kind == "plain") {
            const back = next(socket, "echo");
            socket.emit("echo", small, {k: large});
            const inline = bytes => ({base64: true, data: bytes.toString("base64")});
            same(await back, [inline(small), {k: inline(large)}]);
        } else {
            await echo(socket, small, {k: large, deep: [[small]]}, "text between", Buffer.alloc(0));
        }
    },
    async "acknowledgement"({socket, kind}) {
        if (kind == "plain") return;
        same(await ask(socket, "echo", "q", 7), ["q", 7]);
        same(await Promise.all([..."abc"].map(letter => ask(socket, "echo", letter))), [["a"], ["b"], ["c"]]);
    },
    async "binary acknowledgement"({socket, kind}) {
        if (kind == "plain" || !generation) return;
        const bytes = Buffer.from([0, 128, 255]);
        same(await ask(socket, "echo", bytes, {bytes}), [bytes, {bytes}]);
    },
    async "the server asks"({socket, kind}) {
        if (kind == "plain") return;
        socket.on("question", (...args) => args.pop()(...args, "answer"));
        const answered = next(socket, "answered");
        socket.emit("ask me", "why", [1]);
        same(await answered, ["why", [1], "answer"]);
        if (!generation) return;
        const binary = next(socket, "answered");
        socket.emit("ask me", Buffer.from([9]));
        same(await binary, [Buffer.from([9]), "answer"]);
    },
    async "order of 100"({socket}) {
        const got = [];
        const collect = number => got.push(number);
        socket.on("echo", collect);
        for (let number = 0; number < 100; number += 1) socket.emit("echo", number);
        await until(() => got.length >= 100);
        socket.removeListener("echo", collect);
        same(got, [...Array(100).keys()]);
    },
    async "a namespace"({socket, kind}) {
        if (kind == "plain") return;
        const other = enter(socket, "/custom");
        const greeting = next(other, "auth");
        await next(other, "connect");
        same(await greeting, [{}]);
        let strays = 0;
        const stray = () => (strays += 1);
        socket.on("echo", stray);
        await echo(other, "over there");
        if (generation) await echo(other, Buffer.from([5]));
        same(await ask(other, "echo", 1), [1]);
        socket.removeListener("echo", stray);
        same(strays, 0);
        // It is sent away from there alone.
        const left = next(other, "disconnect");
        other.emit("bye");
        const [reason] = await left;
        if (generation) same(reason, "io server disconnect");
        await echo(socket, "still here");
    },
    async "a namespace for the few"({socket, kind}) {
        if (kind == "plain" || !generation) return;
        const refused = enter(socket, "/secret", "guess");
        const [error] = await next(refused, generation >= 4 ? "connect_error" : "error");
        if (generation >= 4) same([error.message, error.data], ["who are you?", {code: 7}]);
        else same(error, "who are you?");
        const accepted = enter(socket, "/secret", "sesame");
        await next(accepted, "connect");
        await echo(accepted, "psst");
    },
    async "a namespace that there is not"({socket}) {
        const refused = enter(socket, "/nowhere");
        if (!generation) {
            await Promise.race([next(refused, "connect_failed"), next(refused, "error")]);
        } else {
            const [error] = await next(refused, generation >= 4 ? "connect_error" : "error");
            same(generation >= 4 ? error.message : error, "Invalid namespace");
        }
        await echo(socket, "still here");
    },
    async "heartbeats"({socket, beats}) {
        const wanted = beats.count + 2;
        await until(() => beats.count >= wanted);
        same(isConnected(socket), true);
        if (beats.count < wanted) throw new Error(`${beats.count} heartbeats`);
        await echo(socket, "still here");
    },
    async "the client goes"({url, way}) {
        const socket = open(url, names[way]);
        await next(socket, "connect");
        await echo(socket, "client goes");
        // While the oldest waits for the answer to a POST it keeps its farewell to itself, for ever.
        if (!generation) await until(() => !socket.socket.doBuffer);
        const gone = next(socket, "disconnect");
        socket.disconnect();
        same(await gone, [generation ? "io client disconnect" : "booted", ...(generation >= 4 ? [undefined] : [])]);
    },
    async "the server ends it"({socket}) {
        const gone = next(socket, "disconnect");
        socket.emit("end");
        const [reason] = await gone;
        same(reason, generation ? "io server disconnect" : "booted");
    },
};

async function run(text) {
    const [way, kind, url] = text.split(",");
    const result = {};
    const socket = open(url, names[way]);
    const [connected, greeting] = [next(socket, "connect"), next(socket, "auth")];
    greeting.catch(() => {});
    const beats = {count: 0};
    if (generation) (generation >= 4 ? socket.io : socket).on(generation >= 4 ? "ping" : "pong", () => (beats.count += 1));
    const went = [];
    socket.on("disconnect", reason => went.push(reason));
    try {
        await connected;
        result.connect = true;
        if (!generation) {
            // It tells nobody.
            const taker = socket.socket.transport, answer = taker.onHeartbeat;
            taker.onHeartbeat = () => { beats.count += 1; answer.call(taker); };
        }
    } catch (error) {
        return [text, {connect: error.message}];
    }
    for (const [name, check] of Object.entries(checks)) {
        try {
            await check({socket, way, kind, url, greeting, beats});
            result[name] = true;
        } catch (error) {
            result[name] = error.message + (went.length ? ` (disconnected: ${went})` : "");
            if (went.length) break;
        }
    }
    return [text, result];
}

const busy = setInterval(() => {}, patience);

Promise.all(runs.map(run)).then(results => {
    clearInterval(busy);
    console.log(JSON.stringify(Object.fromEntries(results)));
    // It ends by itself when the last farewell has been sent; what hangs is not waited for.
    setTimeout(() => process.exit(0), patience).unref();
});
