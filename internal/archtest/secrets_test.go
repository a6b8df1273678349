package archtest

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logging are the methods and functions of log/slog that take keys and values.
var logging = []string{"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "Log", "LogAttrs", "With", "String", "Any"}

// secretKeys may stand as a log's key only before a value that is cut or masked;
// secretFields may not be handed to a log at all.
var (
	secretKeys   = []string{"iccid", "imsi", "imei", "eid", "activation_code", "qr_code_url", "apple_install_url", "secret", "app_secret", "secret_key", "password", "dsn", "ftp_url"}
	secretFields = []string{"ICCID", "IMSI", "IMEI", "EID", "ActivationCode", "QRCodeURL", "AppleInstallURL", "AppSecret", "AppSecrets", "SecretKey", "EIOTCLUBAppSecret", "ESIMFlySecretKey", "FTPURL", "CDRFTPURL", "DSN", "ClickHouseDSN"}
	maskers      = []string{"Tail", "RedactURL", "Mask", "Redact", "Sum", "Hash", "len"}
)

// Card numbers, device numbers, activation codes and secrets never reach a log
// in clear. This sees what is named so; the workers' own tests look at what their
// logs really said.
func TestNothingSecretIsLogged(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || under(f.pkg.rel(), "internal/sim", "internal/archtest") {
			continue // simulators know invented cards only
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok || !isLogCall(c) {
				return true
			}
			for i, arg := range c.Args {
				if key := literal(arg); slices.Contains(secretKeys, strings.ToLower(key)) && i+1 < len(c.Args) && !masked(c.Args[i+1]) {
					t.Errorf("%s logs %q in clear: cut it with service.Tail or leave it out", f.at(arg), key)
				}
				if !masked(arg) {
					if name := lastName(arg); slices.Contains(secretFields, name) {
						t.Errorf("%s logs %s in clear: cut it with service.Tail or leave it out", f.at(arg), name)
					}
				}
			}
			return true
		})
	}
}

func isLogCall(c *ast.CallExpr) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(logging, s.Sel.Name) {
		return false
	}
	switch x := s.X.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"slog", "log", "logger", "l"}, x.Name)
	case *ast.SelectorExpr:
		return slices.Contains([]string{"log", "Log", "logger"}, x.Sel.Name)
	}
	return false
}

func literal(e ast.Expr) string {
	if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
		s, _ := strconv.Unquote(b.Value)
		return s
	}
	return ""
}

func masked(e ast.Expr) bool {
	c, ok := e.(*ast.CallExpr)
	return ok && slices.ContainsFunc(maskers, func(m string) bool { return strings.Contains(strings.ToLower(calleeName(c)), strings.ToLower(m)) })
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}
