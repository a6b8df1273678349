package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"
)

// cookieName holds a session: who, until when, signed with a key made from the
// token. Nothing is kept here, so any replica knows it, and a new token ends it.
const cookieName = "simline_console"

// sessionFor is how long a person need not say who they are again.
const sessionFor = 12 * time.Hour

// session is a person who knew the token.
type session struct {
	Name  string `json:"n"`
	Until int64  `json:"u"` // Unix seconds
	Nonce string `json:"o"`

	raw string // as the cookie has it
}

// gate lets in who knows the token.
type gate struct {
	token [sha256.Size]byte
	key   []byte
	tries *rate.Limiter // of the login, by all together: the token is long
	now   func() time.Time
}

func newGate(token string, now func() time.Time) *gate {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("simline console session v1"))
	return &gate{token: sha256.Sum256([]byte(token)), key: mac.Sum(nil), tries: rate.NewLimiter(1, 10), now: now}
}

func (g *gate) knows(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}

func (g *gate) sign(what, text string) string {
	mac := hmac.New(sha256.New, g.key)
	mac.Write([]byte(what + "\x00" + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// open makes a session's cookie.
func (g *gate) open(name string, secure bool) (*http.Cookie, error) {
	s := session{Name: name, Until: g.now().Add(sessionFor).Unix(), Nonce: rand.Text()}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding.EncodeToString(b)
	return &http.Cookie{Name: cookieName, Value: text + "." + g.sign("session", text), Path: "/", MaxAge: int(sessionFor.Seconds()),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}, nil
}

// session is the request's, if it has a good one.
func (g *gate) session(r *http.Request) (session, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	text, mac, ok := strings.Cut(c.Value, ".")
	if !ok || subtle.ConstantTimeCompare([]byte(mac), []byte(g.sign("session", text))) != 1 {
		return session{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	s := session{raw: text}
	if err != nil || json.Unmarshal(b, &s) != nil || s.Until < g.now().Unix() {
		return session{}, false
	}
	return s, true
}

// csrf is the token that this session's forms carry.
func (g *gate) csrf(s session) string { return g.sign("csrf", s.raw) }

func (g *gate) checkCSRF(s session, token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(g.csrf(s))) == 1
}

// isSecure says whether the browser came by TLS, which ends before us.
func isSecure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

var errName = errors.New("say who you are, in 1 to 100 characters")

func checkName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || utf8.RuneCountInString(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", errName
	}
	return name, nil
}

// login takes the token and a name and opens a session.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	name, err := checkName(r.PostFormValue("name"))
	switch {
	case !s.gate.tries.Allow():
		s.failed.Inc()
		s.loginPage(w, r, http.StatusTooManyRequests, "Too many tries. Wait a moment.")
	case !s.gate.knows(r.PostFormValue("token")):
		s.failed.Inc()
		s.log.Warn("console: a wrong token", "from", r.RemoteAddr)
		s.loginPage(w, r, http.StatusForbidden, "That is not the token.")
	case err != nil:
		s.loginPage(w, r, http.StatusBadRequest, "Please "+err.Error()+".")
	default:
		c, err := s.gate.open(name, isSecure(r))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		http.SetCookie(w, c)
		s.log.Info("console: a session begins", "name", name)
		http.Redirect(w, r, localPath(r.PostFormValue("next")), http.StatusSeeOther)
	}
}

// localPath is where to go on after the login: a path of ours, nothing else.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n") {
		return "/"
	}
	return next
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request, code int, message string) {
	next := r.PostFormValue("next")
	if next == "" && r.Method == http.MethodGet {
		next = r.URL.RequestURI()
	}
	s.render(w, r, code, "login", map[string]any{"Message": message, "Next": localPath(next), "Name": r.PostFormValue("name")})
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request, _ session) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, Secure: isSecure(r), SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
