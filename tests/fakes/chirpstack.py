"""What a ChirpStack v4 says on its broker, by protobuf's JSON rules, and what it does with downlinks.

Top-level fields of an event are all there; inside rxInfo and txInfo a default (0, "") is left out; numbers of 64 bits
are text (integration.proto and gw.proto of chirpstack v4).
"""

import base64
import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta

import paho.mqtt.client as mqtt

APPLICATION = "saint-seine"


def iso(age=0.0):
    """A moment ago, as ChirpStack writes it: nanoseconds and an offset."""
    moment = datetime.now(UTC) - timedelta(seconds=age)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "123+00:00")


def device(eui):
    return {
        "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242", "tenantName": "commune", "applicationId": APPLICATION,
        "applicationName": APPLICATION, "deviceProfileId": "605d08d4-65f5-4d2c-8a5a-3d2457662f79",
        "deviceProfileName": "em300", "deviceName": "room", "devEui": eui, "deviceClassEnabled": "CLASS_A",
        "tags": {"place": "school"},
    }  # fmt: skip


def gateway(rssi, snr, eui="0016c001f153a14c"):
    info = {
        "gatewayId": eui, "uplinkId": 4217106255, "gwTime": iso(), "nsTime": iso(),
        "timeSinceGpsEpoch": "1342522408.1s",
        "channel": 2, "rfChain": 1, "location": {}, "context": "EFwMtA==", "metadata": {}, "crcStatus": "CRC_OK",
    }  # fmt: skip
    return info | {key: value for key, value in (("rssi", rssi), ("snr", snr)) if value}


def up(eui, payload, fcnt=0, fport=85, age=0.0, decoded=None, gateways=((-103, 4.2),), sf=9):
    return {
        "deduplicationId": str(uuid.uuid4()), "time": iso(age), "deviceInfo": device(eui), "devAddr": "00189440",
        "adr": True, "dr": 3, "fCnt": fcnt, "fPort": fport, "confirmed": False,
        "data": base64.b64encode(payload).decode(),
        **({} if decoded is None else {"object": decoded}),
        "rxInfo": [gateway(*each) for each in gateways],
        "txInfo": {"frequency": 868300000, "modulation": {
            "lora": {"bandwidth": 125000, "spreadingFactor": sf, "codeRate": "CR_4_5"}}},
        "regionConfigId": "eu868",
    }  # fmt: skip


class ChirpStack:
    """A client on the broker that speaks as ChirpStack does. `commands` are the downlinks that were put in its queue.

    `listens`: a device of class C, to which downlinks go at once. `confirms`: what a device says of them.
    """

    def __init__(self, port, **login):
        self.commands, self.listens, self.confirms = [], True, True
        self._fcnt, self._heard = itertools.count(1), str(uuid.uuid4())
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        if "username" in login:
            self.client.username_pw_set(login["username"], login["password"])
        if "tls" in login:
            self.client.tls_set_context(login["tls"])
        self.client.on_connect = lambda client, *_: client.subscribe("application/+/device/+/command/down", 1)
        self.client.on_message = self._take
        self.client.connect("localhost" if "tls" in login else "127.0.0.1", port)
        self.client.loop_start()

    def event(self, eui, kind, body, topic=None):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        info = self.client.publish(topic or f"application/{APPLICATION}/device/{eui}/event/{kind}", body, 1)
        info.wait_for_publish(10)

    def up(self, eui, payload, **more):
        event = up(eui, payload, **{"fcnt": next(self._fcnt), **more})
        self._heard = event["deduplicationId"]  # of all that follows from this uplink
        self.event(eui, "up", event)
        return event

    def tell(self, eui, kind, **fields):
        about = {"deduplicationId": self._heard, "time": iso(), "deviceInfo": device(eui)}
        self.event(eui, kind, about | fields)

    def _take(self, client, userdata, message):
        command = json.loads(message.payload)
        eui = message.topic.split("/")[3]
        if command["devEui"] != eui or command["fPort"] <= 0:
            return  # as ChirpStack: dropped, with a line in its own log
        self.commands.append(command | {"bytes": base64.b64decode(command["data"])})
        if self.listens:
            self.deliver(eui, command)

    def deliver(self, eui, command):
        """The device listens: a gateway takes the downlink, the device confirms it."""
        item = command["id"]
        self._later(eui, "txack", queueItemId=item, downlinkId=17, fCntDown=3, gatewayId="0016c001f153a14c")
        if command["confirmed"] and self.confirms is not None:
            self._later(eui, "ack", queueItemId=item, acknowledged=self.confirms, fCntDown=3)

    def expire(self, eui, command):
        why, context = "Device queue-item discarded because it has expired", {"queue_item_id": command["id"]}
        self.tell(eui, "log", level="ERROR", code="EXPIRED", description=why, context=context)

    def _later(self, eui, kind, **fields):
        about = {"deduplicationId": self._heard, "time": iso(), "deviceInfo": device(eui)}
        self.client.publish(f"application/{APPLICATION}/device/{eui}/event/{kind}", json.dumps(about | fields), 1)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
