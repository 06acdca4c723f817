"""The usage record's payload: one per session, the same bytes on every interpreter.

Names are OCPI 2.2.1's CDR names where it has one. What may stand in a record is checked by
record_check.py, which a charger need not load."""

from evtill.core.text import civil, quote

# The tables below are text, for `.split()`: a tuple of so many names would cost a board 3 kB.

# As in OCPP 2.1's ReasonEnumType, and two of ours.
STOP_REASONS = (
    "Local Remote DeAuthorized EVDisconnected EnergyLimitReached TimeLimitReached "
    "CostLimitReached EmergencyStop PowerLoss Reboot GroundFault Other MeterFault TillFault"
)

# What a reader of the bill must know about it; tillback.words says each in plain words.
FLAGS = (
    "clock_unset clock_set_late clock_stepped start_reading_late end_reading_missing "
    "end_reading_late edge_interpolated meter_gap meter_rollback meter_jump meter_rollover "
    "meter_reset meter_frozen meter_disagrees meter_replaced "
    "power_cut resumed closed_at_boot contactor_welded ceiling pagination_skipped amended "
    "free meter_unsigned reservation_cancelled reservation_expired"
)

# Names on the `event` topic.
EVENTS = (
    "boot safe_mode config_invalid task_restarted watchdog_reset tamper token_unknown "
    "token_blocked token_expired start_refused session_started session_stopped "
    "session_closed_at_boot session_resumed meter_silent meter_fault meter_back meter_foreign "
    "meter_rollback meter_jump reader_fault reader_back contactor_welded contactor_fault "
    "display_fault display_back emergency_stop ground_fault plug_fault lock_fault temperature "
    "power_failing clock_set clock_stepped clock_lost journal_torn "
    "journal_filling journal_full journal_fault pagination_skipped record_refused "
    "record_set_aside events_dropped signature_fault key_made link_up link_down "
    "server_mistrusted payment_fault ack_invalid command_refused command_done tariff_invalid "
    "tariff_changed tokens_changed tokens_refused config_changed update_done update_failed "
    "rollback_suspected card_refused card_locked card_anonymous card_unproven "
    "reserved reservation_cancelled reservation_expired reservation_lost"
)

_VOLUMES = {"ENERGY": "volume_wh", "TIME": "volume_ms", "PARKING_TIME": "volume_ms",
            "RESERVATION_TIME": "volume_ms"}  # fmt: skip


def build(facts, bill):
    """The payload (ASCII bytes) of a session's usage record, to be signed as it is.

    facts: id, seq, prev (64 hex), charger, firmware, boot, start_unix_s, end_unix_s, clock_start,
    clock_end (OCMF letters), duration_ms, auth_method, auth {method, token, assurance, ref,
    ceiling_minor}, meter {model, serial, start_wh, end_wh}, tariff {id, sha256}, currency,
    stop_reason, flags (of FLAGS), amends (a record's id or None), ocmf (bytes or str), and of a
    meter that signs meter_ocmf (str, or None where there is none), which is kept unchanged.
    bill: pricing.Pricer.bill(); a line's "rest_nano" and "vat_ppb" stand in the record only when
    they stand in the bill. A clock that was never set gives seconds since boot and "U"."""
    auth = facts["auth"]
    meter = facts["meter"]
    ocmf = facts["ocmf"]
    if not isinstance(ocmf, str):
        ocmf = str(ocmf, "ascii")
    tariff = facts["tariff"]
    out = [  # pieces, joined once: growing one string would leave 10 kB of garbage
        '{"id":%s,"seq":%d,"prev":"%s","charger":%s,"firmware":%s,"boot":%d,'
        % (
            quote(facts["id"]), facts["seq"], facts["prev"], quote(facts["charger"]),
            quote(facts["firmware"]), facts["boot"],
        ),
        '"start_date_time":"%sZ","end_date_time":"%sZ",'
        % (civil(facts["start_unix_s"]), civil(facts["end_unix_s"])),
        '"clock":{"start":"%s","end":"%s","duration_ms":%d},'
        % (facts["clock_start"], facts["clock_end"], facts["duration_ms"]),
        '"auth_method":"%s","auth":{"method":"%s","token":%s,"assurance":"%s","ref":%s,'
        '"ceiling_minor":%s},'
        % (
            facts["auth_method"], auth["method"], _text(auth["token"]), auth["assurance"],
            _text(auth["ref"]), _number(auth["ceiling_minor"]),
        ),
        '"meter":{"model":%s,"serial":%s,"start_wh":%d,"end_wh":%d},'
        % (quote(meter["model"]), quote(meter["serial"]), meter["start_wh"], meter["end_wh"]),
        '"tariff":{"id":%s,"sha256":"%s"},"currency":"%s","charging_periods":['
        % (quote(tariff["id"]), tariff["sha256"], facts["currency"]),
    ]  # fmt: skip
    comma = ""
    for period in bill["periods"]:
        out.append(comma)
        _period(out, period)
        comma = ","
    out.append(
        '],"total_energy_wh":%d,"total_time_ms":%d,"total_parking_time_ms":%d,'
        '"total_cost":{"excl_minor":%d,"incl_minor":%d,"exact_excl":"%s"},'
        % (
            bill["energy_wh"], bill["time_ms"], bill["parking_ms"], bill["excl_minor"],
            bill["incl_minor"], bill["exact_excl"],
        )  # fmt: skip
    )
    out.append(
        '"stop_reason":"%s","flags":[%s],"amends":%s,"ocmf":"'
        % (
            facts["stop_reason"], ",".join([quote(flag) for flag in facts["flags"]]),
            _text(facts["amends"]),
        )  # fmt: skip
    )
    out.append(ocmf.replace("\\", "\\\\").replace('"', '\\"'))
    ocmf = facts.get("meter_ocmf")
    if ocmf:
        out.append('","meter_ocmf":"')
        out.append(ocmf.replace("\\", "\\\\").replace('"', '\\"'))
    out.append('"}')
    # Not as a whole: that would take its 2 kB in one piece twice.
    return b"".join([piece.encode() for piece in out])


def _period(out, period):
    """Appends a period's pieces to `out`."""
    out.append('{"start_date_time":"%sZ","dimensions":[' % civil(period["start_ms"] // 1000))
    comma = ""
    for d in period["dimensions"]:
        fine = ""
        for key in ("rest_nano", "vat_ppb"):
            if key in d:
                fine += ',"%s":%d' % (key, d[key])
        out.append(
            '%s{"type":"%s","%s":%d,"price_micro":%d,"vat_ppm":%s,"excl_minor":%d,'
            '"incl_minor":%d%s}'
            % (
                comma, d["type"], _VOLUMES.get(d["type"], "volume"), d["volume"],
                d["price_micro"], _number(d["vat_ppm"]), d["excl_minor"], d["incl_minor"], fine,
            )  # fmt: skip
        )
        comma = ","
    out.append("]}")


def _text(value):
    return "null" if value is None else quote(value)


def _number(value):
    return "null" if value is None else "%d" % value
