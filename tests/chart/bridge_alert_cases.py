"""The cases of the bridge's alerts, in the form of `alert_cases`."""

from alert_cases import Case, growing, steady

BRIDGE = "wootric_bridge_request_duration_seconds_bucket"

BRIDGE_CASES: dict[str, Case] = {
    "WootricBridgeNotDurable": Case(
        {"wootric_bridge_kafka_up": steady(0)},
        {"wootric_bridge_kafka_up": "1x10 0x2 1x40"},
    ),
    "WootricBridgeOverloaded": Case(
        {
            'wootric_bridge_requests_total{code="503"}': growing(10),
            'wootric_bridge_requests_total{code="200"}': growing(90),
        },
        {
            'wootric_bridge_requests_total{code="503"}': growing(1),
            'wootric_bridge_requests_total{code="200"}': growing(99),
        },
    ),
    "WootricBridgeSlow": Case(
        {BRIDGE + '{le="2.5"}': growing(90), BRIDGE + '{le="5.0"}': growing(100)}
        | {BRIDGE + '{le="+Inf"}': growing(100)},
        {BRIDGE + '{le="2.5"}': growing(99), BRIDGE + '{le="5.0"}': growing(100)}
        | {BRIDGE + '{le="+Inf"}': growing(100)},
    ),
    "WootricBridgeRefusesSignatures ticket": Case(
        {
            'wootric_bridge_requests_total{code="401"}': growing(10),
            'wootric_bridge_requests_total{code="200"}': growing(90),
        },
        {
            'wootric_bridge_requests_total{code="401"}': growing(1),
            'wootric_bridge_requests_total{code="200"}': growing(99),
        },
    ),
    "WootricBridgeRefusesSignatures page": Case(
        {
            'wootric_bridge_requests_total{code="401"}': "0x60 0+100x60",
            'wootric_bridge_requests_total{code="200"}': "0+100x60 6000x60",
        },
        {  # a flood of strangers, and a quiet night with few of them
            'wootric_bridge_requests_total{code="401",instance="b-0"}': growing(1000, 120),
            'wootric_bridge_requests_total{code="200",instance="b-0"}': growing(100, 120),
            'wootric_bridge_requests_total{code="401",job="night"}': growing(1, 120),
            'wootric_bridge_requests_total{code="200",job="night"}': "0+100x60 6000+2x60",
        },
        at_min=100,
    ),
    "WootricBridgeAbsent": Case(
        {'wootric_bridge_requests_total{code="200"}': "0+60x10 _x110"},
        {
            'wootric_bridge_requests_total{code="200",instance="b-0"}': "0+60x10 _x110",
            'wootric_bridge_requests_total{code="200",instance="b-1"}': "_x9 0+60x110",
        },
        at_min=110,
    ),
    "WootricBridgeLosesEvents ticket": Case(
        {'wootric_bridge_refused_total{reason="too_large"}': "_x20 1x40"},
        {
            'wootric_bridge_refused_total{reason="too_large"}': steady(3),
            'wootric_bridge_refused_total{reason="busy"}': growing(5),
        },
        at_min=40,
    ),
    "WootricBridgeLosesEvents page": Case(
        {
            'wootric_bridge_refused_total{reason="invalid_event"}': growing(10),
            'wootric_bridge_requests_total{code="400"}': growing(10),
            'wootric_bridge_requests_total{code="200"}': growing(90),
        },
        {
            'wootric_bridge_refused_total{reason="undecodable"}': growing(10),  # by anybody
            'wootric_bridge_requests_total{code="400"}': growing(10),
            'wootric_bridge_requests_total{code="200"}': growing(90),
        },
    ),
}
