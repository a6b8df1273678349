package orderer

import (
	"slices"

	"github.com/simline/simline/internal/order"
)

// named counts the eSIMs whose details are known. Another may be listed without: it
// was bought, and the supplier has not said which it is.
func named(esims []order.ESIM) (n int) {
	for i := range esims {
		if esims[i].ICCID != "" {
			n++
		}
	}
	return n
}

// inHand says whether an eSIM's details are known.
func inHand(esims []order.ESIM) bool { return named(esims) > 0 }

// delivered says whether what was bought is in hand, so that who says that it is
// there may be right: of eSIMs as many as were ordered. A person may say so of fewer,
// who sees what we are not shown.
func delivered(r *order.Record, by order.Evidence) bool {
	switch {
	case r.Product != order.ProductESIM:
		return true
	case by == order.EvidencePerson:
		return inHand(r.ESIMs)
	}
	return named(r.ESIMs) >= max(1, r.Request.Quantity)
}

// mergeESIMs keeps what was known of each eSIM unless there is something newer. Who
// lists as many as are known lists them in the same order; who lists fewer does not
// take back the others.
func mergeESIMs(old, new []order.ESIM) []order.ESIM {
	if len(new) == 0 {
		return old
	}
	if len(new) < len(old) {
		return addESIMs(old, new)[:len(old)]
	}
	out := slices.Clone(new)
	for i := range old {
		if o, n := old[i], &out[i]; n.ICCID == "" || o.ICCID == "" || n.ICCID == o.ICCID {
			keep(n, o)
		}
	}
	return out
}

// addESIMs is old and what is told of some of them, or of others: each goes to its
// ICCID, else takes the place of one that was listed without, else stands behind them
// all.
func addESIMs(old, some []order.ESIM) []order.ESIM {
	out := slices.Clone(old)
	at := func(iccid string) int {
		return slices.IndexFunc(out, func(o order.ESIM) bool { return o.ICCID == iccid })
	}
	for _, e := range some {
		if e.ICCID == "" {
			continue // of which of them that speaks, nobody knows
		}
		if i := at(e.ICCID); i >= 0 {
			keep(&e, out[i])
			out[i] = e
		} else if i := at(""); i >= 0 {
			out[i] = e // that it is pending is over
		} else {
			out = append(out, e)
		}
	}
	return out
}

// keep fills what e does not say with what was known of it.
func keep(e *order.ESIM, known order.ESIM) {
	for _, f := range []struct {
		is  *string
		was string
	}{{&e.ICCID, known.ICCID}, {&e.ActivationCode, known.ActivationCode}, {&e.QRCodeURL, known.QRCodeURL},
		{&e.AppleInstallURL, known.AppleInstallURL}, {&e.Status, known.Status}} {
		if *f.is == "" {
			*f.is = f.was
		}
	}
}
