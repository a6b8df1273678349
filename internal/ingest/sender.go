package ingest

import (
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"
)

const (
	pathPrefix       = "/webhooks/"
	supplierEIOTCLUB = "eiotclub"
)

// admit finds the account that a request is for and refuses whom it does not
// expect, before any of the body is read.
func (w *Worker) admit(req *request) (*account, error) {
	rest, ok := strings.CutPrefix(req.path, pathPrefix)
	if !ok {
		return nil, errPath
	}
	key, secret := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		if j := strings.IndexByte(rest[i+1:], '/'); j >= 0 {
			key, secret = rest[:i+1+j], rest[i+j+2:]
		}
	}
	acct := w.accounts[key]
	if acct == nil {
		return nil, errAccount
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(acct.pathSecret)) != 1 {
		return acct, errSecret
	}
	if req.method != http.MethodPost {
		return acct, errMethod
	}
	if len(acct.senders) > 0 && !contains(acct.senders, w.sender(req)) {
		return acct, errSender
	}
	// A compressed body could unpack to anything; the supplier sends none.
	if req.encoded {
		return acct, errEncoding
	}
	if req.length > MaxBody {
		return acct, errTooLarge
	}
	return acct, nil
}

// sender is the address that a request comes from: the connection's, or, behind
// our own proxies, the last in X-Forwarded-For that is not one of them.
func (w *Worker) sender(req *request) netip.Addr {
	ap, err := netip.ParseAddrPort(req.remote)
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap()
	if !contains(w.proxies, addr) {
		return addr
	}
	hops := strings.Split(strings.Join(req.forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return netip.Addr{} // not to be trusted, so nobody
		}
		if addr = hop.Unmap().WithZone(""); !contains(w.proxies, addr) {
			break
		}
	}
	return addr
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
