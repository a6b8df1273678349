package archtest

import (
	"go/ast"
	"testing"
)

// That an order was not placed is said by a proof (order.NotPlaced) and never set by
// hand, and the one call that spends money stands behind a permit, in one place.
func TestMoneyMovesByProofAndPermitAlone(t *testing.T) {
	var calls []string
	for _, f := range sources(t) {
		if f.test || !under(f.pkg.rel(), "internal/orderer", "internal/ledger") {
			continue
		}
		certain := map[ast.Node]bool{}
		for _, n := range uses(f, module+"/internal/order", "CertainNotPlaced") {
			certain[n] = true
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			var values []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				values = n.Rhs
			case *ast.KeyValueExpr:
				values = []ast.Expr{n.Value}
			case *ast.CallExpr:
				if calleeName(n) == "Place" {
					calls = append(calls, f.at(n))
				}
			}
			for _, v := range values {
				if certain[v] {
					t.Errorf("%s: \"not placed\" is set by hand: it takes a proof, see internal/order/proof.go", f.at(v))
				}
			}
			return true
		})
	}
	if len(calls) != 1 {
		t.Errorf("a supplier's Place is called at %v, want it in one place, behind a permit", calls)
	}
}
