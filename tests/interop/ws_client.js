// The ws package of npm as the client: node ws_client.js URL off|on|context
//
// Opens a WebSocket with each set of options, sends messages and fragments to an echo node, closes with a code, and
// prints how many exchanges were right and which were wrong.
"use strict";

const WebSocket = require("ws");

const [url, deflate] = process.argv.slice(2);
const patience = 60000;

const offers = [false, true];
// A plain `false` would forbid the server what RFC 7692 allows it unasked.
for (const serverNoContextTakeover of [undefined, true])
    for (const clientNoContextTakeover of [undefined, true])
        for (const serverMaxWindowBits of [undefined, 10])
            for (const clientMaxWindowBits of [true, 10])
                offers.push({serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits, threshold: 0});

const messages = ["", "Hello", "grüße", "x".repeat(70000), Buffer.alloc(0), Buffer.from([0, 255]), Buffer.alloc(200000, 7)];

function exchange(perMessageDeflate) {
    return new Promise((resolve, reject) => {
        const client = new WebSocket(url, {perMessageDeflate, maxPayload: 0});
        const clock = setTimeout(() => reject(new Error("it takes too long")), patience);
        const expected = [...messages, "Hello", ...messages];
        client.on("error", reject);
        client.on("open", () => {
            const wanted = deflate != "off" && perMessageDeflate != false;
            if (client.extensions.includes("permessage-deflate") != wanted)
                reject(new Error(`extensions are ${client.extensions}`));
            messages.forEach(message => client.send(message));
            client.send("Hel", {fin: false});
            client.ping();
            client.send("lo", {fin: true});
            messages.forEach(message => client.send(message, {compress: false}));
        });
        client.on("message", (data, isBinary) => {
            const message = expected.shift();
            if (isBinary != Buffer.isBuffer(message) || !data.equals(Buffer.from(message)))
                reject(new Error(`${String(message).slice(0, 20)} came back as ${String(data).slice(0, 20)}`));
            if (!expected.length) client.close(4000, "done");
        });
        client.on("close", code => {
            clearTimeout(clock);
            expected.length || code != 4000 ? reject(new Error(`closed with ${code}`)) : resolve();
        });
    });
}

(async () => {
    const result = {right: 0, wrong: []};
    for (const offer of offers) {
        try {
            await exchange(offer);
            result.right += 1;
        } catch (error) {
            result.wrong.push([JSON.stringify(offer), error.message]);
        }
    }
    console.log(JSON.stringify(result));
    process.exit(0);
})();
