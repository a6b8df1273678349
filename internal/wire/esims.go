package wire

import (
	"bytes"

	"github.com/simline/simline/internal/order"
)

// DecodeESIMs reads what a person brings of an order's eSIMs: an array of Evidence's
// esims, 1 to order.MaxQuantity of them, each with an ICCID of its own and texts of at
// most 1,000 characters. Its error is an *Error and names no card.
func DecodeESIMs(b []byte) ([]order.ESIM, error) {
	saw, err := scan(b, 0)
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimSpace(b); b[0] != '[' {
		return nil, schemaError("not an array")
	}
	var list []order.ESIM
	if err := decodeStrict(b, saw.odd, &list); err != nil {
		return nil, err
	}
	if n := len(list); n == 0 || n > order.MaxQuantity {
		return nil, schemaError("%d in the array, not 1 to %d", n, order.MaxQuantity)
	}
	first := map[string]int{}
	for i, e := range list {
		if !order.ValidICCID(e.ICCID) {
			return nil, schemaError("number %d: iccid is not 18 to 22 digits", i+1)
		}
		if twin, twice := first[e.ICCID]; twice {
			return nil, schemaError("number %d has the iccid of number %d", i+1, twin)
		}
		first[e.ICCID] = i + 1
		err := checkTexts(map[string]string{"activation_code": e.ActivationCode, "qr_code_url": e.QRCodeURL, "apple_install_url": e.AppleInstallURL, "status": e.Status})
		if err != nil {
			return nil, schemaError("number %d: %v", i+1, err)
		}
	}
	return list, nil
}
