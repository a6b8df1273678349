package operator

import (
	"bytes"
	"encoding/json"
	"regexp"

	"github.com/simline/simline/internal/order"
)

// Masked is events as a screen may show them: of cards the last four digits, of
// what installs an eSIM that it is there.
func Masked(events []Event) []Event {
	out := make([]Event, len(events))
	for i, e := range events {
		e.ESIMs = maskESIMs(e.ESIMs)
		e.Request.ICCID, e.Request.EID = tail(e.Request.ICCID), tail(e.Request.EID)
		e.Request.Metadata = MaskJSON(e.Request.Metadata)
		e.Reason = MaskText(e.Reason)
		if e.Error != nil {
			masked := *e.Error
			masked.Message = MaskText(masked.Message)
			e.Error = &masked
		}
		e.LookLog = append([]order.Look(nil), e.LookLog...)
		for j := range e.LookLog {
			e.LookLog[j].Said, e.LookLog[j].Where = MaskText(e.LookLog[j].Said), MaskText(e.LookLog[j].Where)
		}
		out[i] = e
	}
	return out
}

func maskESIMs(list []order.ESIM) []order.ESIM {
	hide := func(s string) string {
		if s == "" {
			return ""
		}
		return "****"
	}
	var out []order.ESIM
	for _, e := range list {
		out = append(out, order.ESIM{ICCID: tail(e.ICCID), ActivationCode: hide(e.ActivationCode), QRCodeURL: hide(e.QRCodeURL),
			AppleInstallURL: hide(e.AppleInstallURL), Status: e.Status})
	}
	return out
}

// tail leaves the last four characters of a number, and of a short one nothing.
func tail(s string) string {
	switch {
	case s == "":
		return ""
	case len(s) <= 4:
		return "…"
	}
	return "…" + s[len(s)-4:]
}

var (
	// secretMember is a member of a JSON object that names a card, a device or what
	// installs an eSIM, in our spelling or a supplier's.
	secretMember = regexp.MustCompile(`(?i)("(?:iccid|eid|imsi|imei|msisdn|[a-z_]*iccids?|activation_?code|active_?code|lpa|qr_?code(?:_?url)?|qrcode|apple_install_url|iosqrcodeurl|pin|puk|matching_?id|smdp(?:_?address)?)"\s*:\s*)("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[0-9]+)`)
	// cardNumber is an ICCID (they begin with 89) or an EID in the middle of a text.
	cardNumber = regexp.MustCompile(`\b(?:89[0-9]{16,20}|[0-9]{32})\b`)
	lpa        = regexp.MustCompile(`(?i)LPA:1\$[^\s"\\]+`)
)

// MaskJSON masks what a message's body says of cards, whatever its form: known
// members of JSON, and card numbers and activation codes in any text.
func MaskJSON(b []byte) []byte {
	b = secretMember.ReplaceAllFunc(b, func(m []byte) []byte {
		parts := secretMember.FindSubmatch(m)
		name, value := parts[1], parts[2]
		masked := `"****"`
		switch {
		case string(value) == `""`:
			masked = `""`
		case value[0] == '"' && cardNumber.Match(value):
			masked = `"` + tail(string(value[1:len(value)-1])) + `"`
		}
		return append(append([]byte(nil), name...), masked...)
	})
	return []byte(MaskText(string(b)))
}

// MaskText masks card numbers and activation codes in a text for people.
func MaskText(s string) string {
	s = lpa.ReplaceAllString(s, "LPA:****")
	return cardNumber.ReplaceAllStringFunc(s, tail)
}

// Indent lays JSON out for reading; what is no JSON stays as it is.
func Indent(b []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, b, "", "  ") != nil {
		return b
	}
	return out.Bytes()
}
