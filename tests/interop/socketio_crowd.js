// Many clients of npm, of every generation and transport, that never go away: node socketio_crowd.js URL COUNT
//
// Each enters the hall and, until a line comes on stdin, asks for an echo twice a second; meanwhile others, ten at least, come
// for an echo and go. Prints {"ready":COUNT} once all are there; at the end what they were told, and everything that went wrong.
"use strict";

const url = process.argv[2];
const count = Number(process.argv[3]);
const pace = 500;
const fewest = 10;
const kinds = [
    [4, ["polling"]], [4, ["websocket"]], [4, ["polling", "websocket"]],
    [2, ["polling", "websocket"]], [2, ["polling"]], [0, ["websocket"]], [4, ["polling", "websocket"]], [0, ["xhr-polling"]],
];

const wrong = [];
// How many clients were told each number.
const ticks = {};
// Which echoes came back, once each.
const echoes = new Set();

function sleep(milliseconds) {
    return new Promise(resolve => setTimeout(resolve, milliseconds));
}

class Member {
    constructor(number) {
        const [generation, transports] = kinds[number % kinds.length];
        this.number = number;
        this.name = `${number} (${generation} ${transports})`;
        const io = require(`socket.io-client-${generation}`);
        if (generation) {
            this.socket = io(url, {transports, forceNew: true, reconnection: false, timeout: 60000});
        } else {
            io.transports = [...transports];
            this.socket = io.connect(url, {"force new connection": true, reconnect: false, "connect timeout": 60000});
        }
        for (const event of ["disconnect", "error", "connect_error", "connect_failed"])
            this.socket.on(event, what => this.isGone || wrong.push(`${this.name}: ${event} ${what && what.message || what}`));
        this.last = {};
        this.socket.on("tick", (worker, tick) => this.count(worker, tick));
        this.socket.on("echo", (number, nth) => {
            const echo = `${number} ${nth}`;
            if (number != this.number || echoes.has(echo)) wrong.push(`${this.name}: echo ${echo}`);
            echoes.add(echo);
        });
        this.sent = 0;
    }

    count(worker, tick) {
        if (!(tick > (this.last[worker] ?? -1))) wrong.push(`${this.name}: ${worker} says ${tick} after ${this.last[worker]}`);
        this.last[worker] = tick;
        const key = `${worker} ${tick}`;
        ticks[key] = (ticks[key] || 0) + 1;
    }

    // An event may be lost with the node that it is sent to; so it is sent again.
    async insist(...event) {
        for (let tries = 0; tries < 30; tries += 1) {
            const answer = await Promise.race([
                new Promise(resolve => this.socket.emit(...event, (...args) => resolve(args))), sleep(2000)]);
            if (answer) return;
        }
        wrong.push(`${this.name}: ${event[0]} was never answered`);
    }

    speak() {
        this.socket.emit("echo", this.number, this.sent++);
    }
}

let visits = 0;

async function visit(number) {
    const visitor = new Member(number);
    await visitor.insist("echo", "visit");
    visitor.isGone = true;
    visitor.socket.disconnect();
    visits += 1;
}

async function main() {
    const members = [];
    for (let number = 0; number < count; number += 1) {
        members.push(new Member(number));
        // The kernel has room for so many who wait at the door.
        if (number % 50 == 49) await sleep(20);
    }
    await Promise.all(members.map(member => member.insist("join", "hall")));
    console.log(JSON.stringify({ready: members.length}));

    const clocks = members.map((member, nth) => {
        let clock;
        setTimeout(() => { clock = setInterval(() => member.speak(), pace); }, pace * nth / count);
        return () => clearInterval(clock);
    });
    const visitors = [];
    clocks.push(clearInterval.bind(null, setInterval(() => visitors.push(visit(count + visitors.length)), pace / 4)));
    await new Promise(resolve => process.stdin.once("data", resolve));
    while (visitors.length < fewest) await sleep(pace);
    clocks.forEach(stop => stop());
    await Promise.all(visitors);
    await sleep(500);
    // What comes has come before this is answered.
    await Promise.all(members.map(member => member.insist("echo", "last")));
    members.forEach(member => { member.isGone = true; });
    const sent = members.reduce((sum, member) => sum + member.sent, 0);
    // A pipe takes it piece by piece.
    process.stdout.write(JSON.stringify({wrong, ticks, echoes: [...echoes], sent, visits}), () => process.exit(0));
}

main();
