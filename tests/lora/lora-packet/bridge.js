// One JSON object a line each way: frames are made and read by the npm package lora-packet.
const lora = require("lora-packet");
const hex = (text) => (text === undefined || text === null ? undefined : Buffer.from(text, "hex"));
const text = (buffer) => (buffer ? buffer.toString("hex") : null);

const ops = {
  make: (q) => {
    const fields = { ...q.fields };
    for (const name of ["DevAddr", "payload", "FOpts", "AppEUI", "DevEUI", "DevNonce"]) {
      if (fields[name] !== undefined) fields[name] = hex(fields[name]);
    }
    return { frame: text(lora.fromFields(fields, hex(q.app), hex(q.network), hex(q.key), hex(q.msb)).getPHYPayload()) };
  },
  read: (q) => {
    const packet = lora.fromWire(hex(q.frame));
    const f = packet.getBuffers();
    return {
      type: packet.getMType(), mic: lora.verifyMIC(packet, hex(q.network), hex(q.key), hex(q.msb)),
      address: text(f.DevAddr), counter: packet.getFCnt(), port: packet.getFPort(), ack: packet.getFCtrlACK(),
      pending: packet.getFCtrlFPending(), options: text(f.FOpts),
      payload: f.FRMPayload && f.FRMPayload.length ? text(lora.decrypt(packet, hex(q.app), hex(q.network), hex(q.msb))) : "",
    };
  },
  accept: (q) => {
    const packet = lora.fromWire(lora.decryptJoinAccept(lora.fromWire(hex(q.frame)), hex(q.key)));
    const f = packet.getBuffers();
    return {
      mic: lora.verifyMIC(packet, undefined, hex(q.key)), nonce: text(f.AppNonce || f.JoinNonce), net: text(f.NetID),
      address: text(f.DevAddr), delay: text(f.RxDelay), settings: text(f.DLSettings), channels: text(f.CFList),
    };
  },
  keys: (q) => {
    const keys = lora.generateSessionKeys10(hex(q.key), hex(q.net), hex(q.join_nonce), hex(q.dev_nonce));
    return { network: text(keys.NwkSKey), app: text(keys.AppSKey) };
  },
};

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const question = JSON.parse(line);
  console.log(JSON.stringify(ops[question.do](question)));
});
