package eiotclub

import (
	"bytes"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// Verifier checks the signatures of one account's notifications.
type Verifier struct {
	secrets [][]byte
}

// NewVerifier takes the secrets that are valid at this time: one, or several
// while they are being exchanged.
func NewVerifier(secrets ...string) (*Verifier, error) {
	v := &Verifier{}
	for _, s := range secrets {
		if s == "" {
			return nil, errors.New("an empty secret would let anyone sign")
		}
		v.secrets = append(v.secrets, []byte(s))
	}
	if len(v.secrets) == 0 {
		return nil, errors.New("no secret to check notifications with")
	}
	return v, nil
}

// Errors of Verify. Neither says more to a stranger than that it did not fit.
var (
	ErrNoSignature  = errors.New("no signature")
	ErrBadSignature = errors.New("bad signature")
)

// Verify checks the signature of the body that s has scanned, as seed 002
// documents it (签名(sign)算法): every parameter but sign that is not empty, sorted
// by name, joined as name=value with &, then &secret= and the secret, SHA-1 in
// hex. Notifications carry no appkey.
//
// What the document leaves open is tried in turn, since each way needs the
// secret: a nested value as it was received, then compact; names sorted and
// empty values dropped as the prose has it, then as its Java sample does it
// (empties kept, whole pairs sorted). null counts as empty.
func (v *Verifier) Verify(s *Scanner) error {
	sign := s.Text("sign")
	if len(sign) == 0 {
		return ErrNoSignature
	}
	var want [sha1.Size]byte
	if len(sign) != hex.EncodedLen(sha1.Size) {
		return fmt.Errorf("%w: not 40 hex digits", ErrBadSignature)
	}
	if _, err := hex.Decode(want[:], sign); err != nil {
		return fmt.Errorf("%w: not 40 hex digits", ErrBadSignature)
	}
	if s.forms(func() bool { return v.matches(s, want) }) {
		return nil
	}
	return ErrBadSignature
}

// forms writes to s.canon each string that the sender may have signed, without
// the secret, until match is true.
func (s *Scanner) forms(match func() bool) bool {
	slices.SortFunc(s.members, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	if s.canonical(); match() {
		return true
	}
	plain := bytes.Clone(s.canon)
	compacted := s.compact()
	if compacted {
		if s.canonical(); match() {
			return true
		}
		s.uncompact()
	}
	if s.javaSample(); !bytes.Equal(s.canon, plain) && match() {
		return true
	}
	if compacted {
		s.compact()
		s.javaSample()
		return match()
	}
	return false
}

// canonical writes the documented string to s.canon, up to and with the last &.
func (s *Scanner) canonical() {
	s.canon = s.canon[:0]
	for i := range s.members {
		if m := &s.members[i]; len(m.text) > 0 && string(m.name) != "sign" {
			s.canon = appendPair(s.canon, m)
		}
	}
}

// javaSample writes the string of the document's Java sample to s.canon.
func (s *Scanner) javaSample() {
	pairs := make([][]byte, 0, len(s.members))
	for i := range s.members {
		if m := &s.members[i]; string(m.name) != "sign" {
			pairs = append(pairs, appendPair(nil, m))
		}
	}
	slices.SortFunc(pairs, bytes.Compare)
	s.canon = s.canon[:0]
	for _, p := range pairs {
		s.canon = append(s.canon, p...)
	}
}

func appendPair(b []byte, m *member) []byte {
	b = append(append(b, m.name...), '=')
	return append(append(b, m.text...), '&')
}

// matches finishes s.canon with each secret and compares in constant time.
func (v *Verifier) matches(s *Scanner, want [sha1.Size]byte) bool {
	n := len(s.canon)
	found := 0
	for _, secret := range v.secrets {
		s.canon = append(append(s.canon[:n], "secret="...), secret...)
		sum := sha1.Sum(s.canon)
		found |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	s.canon = s.canon[:n]
	return found == 1
}

// compact drops the white space from nested values and says whether there was any.
func (s *Scanner) compact() bool {
	found := false
	for i := range s.members {
		m := &s.members[i]
		if !m.spaced {
			continue
		}
		found = true
		out := make([]byte, 0, len(m.text))
		inString := false
		for j := 0; j < len(m.text); j++ {
			c := m.text[j]
			switch {
			case inString && c == '\\':
				out = append(out, c)
				j++
				c = m.text[j]
			case c == '"':
				inString = !inString
			case !inString && (c == ' ' || c == '\n' || c == '\t' || c == '\r'):
				continue
			}
			out = append(out, c)
		}
		m.raw, m.text = m.text, out
	}
	return found
}

func (s *Scanner) uncompact() {
	for i := range s.members {
		if m := &s.members[i]; m.spaced {
			m.text = m.raw
		}
	}
}
