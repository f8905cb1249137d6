"""The dialects: topics and payloads of one platform each (`agent.uplink.dialect` is what each must have)."""
