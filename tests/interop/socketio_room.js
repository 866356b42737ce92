// One room with clients of npm of every generation in it, by every transport: node socketio_room.js URL IDLE
//
// At the end nobody says anything for IDLE milliseconds, and nobody may be sent away for that. Prints what each of them was
// told, as JSON.
"use strict";

const url = process.argv[2];
const idle = Number(process.argv[3]);
const patience = 60000;
const ways = {
    "0 polling": ["xhr-polling"], "0 websocket": ["websocket"],
    ...Object.fromEntries([1, 2, 4].flatMap(generation => [
        [`${generation} polling`, ["polling"]],
        [`${generation} websocket`, ["websocket"]],
        [`${generation} upgrade`, ["polling", "websocket"]],
    ])),
};

function readable(value) {
    return JSON.parse(JSON.stringify(value, (_, inner) =>
        ArrayBuffer.isView(inner) ? {bytes: [...inner]} : inner && inner.type == "Buffer" ? {bytes: inner.data} : inner));
}

function within(promise, what) {
    return Promise.race([promise, new Promise((_, reject) =>
        setTimeout(() => reject(new Error(`${what} takes too long`)), patience).unref())]);
}

class Member {
    constructor(name) {
        const io = require(`socket.io-client-${name[0]}`);
        this.name = name;
        if (name[0] == "0") {
            io.transports = [...ways[name]];
            this.socket = io.connect(url, {"force new connection": true, reconnect: false, "connect timeout": patience});
        } else {
            this.socket = io(url, {transports: ways[name], forceNew: true, reconnection: false, timeout: patience});
        }
        this.told = [];
        this.changed = () => {};
        this.socket.on("said", (...args) => {
            this.told.push(readable(args));
            this.changed();
        });
        this.socket.on("disconnect", reason => this.told.push(["disconnected", reason]));
    }

    ask(...event) {
        return within(new Promise(resolve => this.socket.emit(...event, resolve)), `${this.name}: ${event[0]}`);
    }

    // Until it was told as much.
    wait(count) {
        return within(new Promise(resolve => {
            this.changed = () => this.told.length >= count && resolve();
            this.changed();
        }), `${this.name}: to be told ${count} things rather than ${JSON.stringify(this.told)}`);
    }
}

async function main() {
    const members = Object.keys(ways).map(name => new Member(name));
    await Promise.all(members.map(member => member.ask("join", "hall")));
    // Each speaks, so each generation and transport is heard by each other.
    for (const [nth, member] of members.entries()) {
        await member.ask("say", "hall", member.name, {nth});
        await Promise.all(members.map(other => other.wait(nth + 1)));
    }
    let said = members.length;
    for (const member of members.filter(member => member.name[0] != "0")) {
        await member.ask("say", "hall", member.name, Buffer.from([0, 255]));
        said += 1;
        await Promise.all(members.map(other => other.wait(said)));
    }
    const [quiet, gone, ...others] = members.filter(member => member.name.includes("polling"));
    await quiet.ask("noecho", "hall");
    await quiet.ask("say", "hall", "not to me");
    await gone.ask("leave", "hall");
    await gone.ask("say", "hall", "after me");
    await Promise.all(members.map(member => member.wait(said + (member == gone || member == quiet ? 1 : 2))));
    await new Promise(resolve => setTimeout(resolve, idle));
    // Whatever would come too much has come before this.
    await Promise.all(members.map(member => member.ask("echo")));
    console.log(JSON.stringify({
        quiet: quiet.name, gone: gone.name, told: Object.fromEntries(members.map(member => [member.name, member.told])),
    }));
    process.exit(0);
}

main().catch(error => {
    console.error(error.message);
    process.exit(1);
});
