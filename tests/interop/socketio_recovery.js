// socket.io-client 4 on a connection that breaks: node socketio_recovery.js HOST:PORT TRANSPORT
//
// Its connections go by way of a proxy that cuts them, says "away", and lets none through until a line comes on stdin. Prints
// what the client was told, whether it was recovered, and its id before and after.
"use strict";

const net = require("net");
const io = require("socket.io-client-4");

const [host, port] = process.argv[2].split(":");
const transport = process.argv[3];
const patience = 60000;

class Proxy {
    constructor() {
        this.isOpen = true;
        this.sockets = new Set();
        this.server = net.createServer(client => {
            if (!this.isOpen) return client.destroy();
            const server = net.connect(port, host);
            for (const [from, to] of [[client, server], [server, client]]) {
                this.sockets.add(from);
                from.on("error", () => {});
                from.on("close", () => {
                    this.sockets.delete(from);
                    to.destroy();
                });
                from.pipe(to);
            }
        });
    }

    listen() {
        return new Promise(resolve => this.server.listen(0, "127.0.0.1", () => resolve(this.server.address().port)));
    }

    cut() {
        this.isOpen = false;
        this.sockets.forEach(socket => socket.destroy());
    }
}

function next(emitter, event) {
    return new Promise((resolve, reject) => {
        emitter.once(event, resolve);
        setTimeout(() => reject(new Error(`${event} takes too long`)), patience).unref();
    });
}

async function main() {
    const proxy = new Proxy();
    const local = await proxy.listen();
    const told = [];
    const socket = io(`http://${host}:${local}`, {
        transports: transport == "upgrade" ? ["polling", "websocket"] : [transport],
        reconnectionDelay: 50, reconnectionDelayMax: 50, randomizationFactor: 0,
    });
    const collect = (...args) => told.push(args[0]);
    socket.on("said", collect);
    await next(socket, "connect");
    if (transport == "upgrade" && socket.io.engine.transport.name != "websocket") await next(socket.io.engine, "upgrade");
    const other = socket.io.socket("/custom");
    const elsewhere = [];
    other.on("said", (...args) => elsewhere.push(args[0]));
    await next(other, "connect");
    const before = [socket.id, other.id];
    await Promise.all([socket, other].map(one => one.emitWithAck("join", "hall")));

    const friend = io(`http://${host}:${port}`, {forceNew: true, transports: ["websocket"]});
    const there = friend.io.socket("/custom");
    await Promise.all([next(friend, "connect"), next(there, "connect")]);
    const say = text => Promise.all([friend.emitWithAck("say", "hall", text), there.emitWithAck("say", "hall", text)]);
    await say("before");
    await socket.emitWithAck("echo");

    const [lost, back] = [next(socket, "disconnect"), next(socket, "connect")];
    proxy.cut();
    const reason = await lost;
    for (const text of ["missed", "as well"]) await say(text);
    console.log(JSON.stringify("away"));
    await new Promise(resolve => process.stdin.once("data", resolve));
    proxy.isOpen = true;
    await back;
    if (!other.connected) await next(other, "connect");
    const recovered = [socket.recovered, other.recovered];
    await say("after");
    // Whatever comes has come before this.
    await Promise.all([socket, other].map(one => one.emitWithAck("echo")));
    console.log(JSON.stringify({reason, recovered, same: [socket.id == before[0], other.id == before[1]], told, elsewhere}));
    process.exit(0);
}

main().catch(error => {
    console.error(error.message);
    process.exit(1);
});
