package eiotclub

import "github.com/simline/simline/internal/supplier"

// codes is the whole table of seed 002 under 错误代码 but for 200, with its English
// text, and what each means for an order. A code that is not here is Unknown.
var codes = map[string]supplier.Kind{
	// An order under our id is there: look it up.
	"42002":  supplier.Exists, // outTradeNo already exists.
	"503016": supplier.Exists, // Duplicate order number.

	// Not placed, try again soon.
	"501":   supplier.Busy, // Too many requests.
	"44001": supplier.Busy, // Operation too frequent, refresh once every 5 mins.
	"45102": supplier.Busy, // Too frequent card unlocking.

	// Not placed, wait for money.
	"45112": supplier.NoFunds, // Insufficient balance.

	// Not placed, wait or give up by policy.
	"45110": supplier.OutOfStock, // eSIM out of stock.

	// Not placed, our set-up is wrong: key, signature, clock or address.
	"403":    supplier.Setup, // You don't have permission to access.
	"502":    supplier.Setup, // IP whitelist error.
	"41030":  supplier.Setup, // Username not found when verifying sign, contact tech support.
	"42401":  supplier.Setup, // Signature string is empty.
	"42402":  supplier.Setup, // Invalid signature, check encryption method.
	"41998":  supplier.Setup, // API customer info is abnormal, contact tech support.
	"42101":  supplier.Setup, // Appkey is empty.
	"42102":  supplier.Setup, // Appkey does not exist.
	"42104":  supplier.Setup, // ip: is not authorized, configure ip whitelist.
	"42201":  supplier.Setup, // Timestamp is empty.
	"42203":  supplier.Setup, // Timestamp is inaccurate.
	"42204":  supplier.Setup, // Invalid time format.
	"42301":  supplier.Setup, // Nonce is empty.
	"900910": supplier.Setup, // No operation permission.

	// Nobody knows: the server failed at something, or the code speaks of an order's
	// later life or of another operation and so says nothing of a purchase.
	"500":   supplier.Unknown, // Operation failed, try again later.
	"41036": supplier.Unknown, // Ordering is abnormal.
	"41103": supplier.Unknown, // Activation failed.
	"41104": supplier.Unknown, // Deactivation failed.
	"42004": supplier.Unknown, // Order does not exist.
	"42006": supplier.Unknown, // Order status is abnormal.
	"42008": supplier.Unknown, // Package status does not allow refund.
	"43331": supplier.Unknown, // Server exception.
	"43333": supplier.Unknown, // Missing error hint.
	"44002": supplier.Unknown, // Refresh failed.
	"45111": supplier.Unknown, // eSIM order not found.
	"45113": supplier.Unknown, // Refund not allowed at current status.

	// Not placed, this order is wrong; among them codes of parameters that no
	// purchase has: a call refused for its parameters did nothing.
	"41001":  supplier.Refused, // Invalid iccids parameter.
	"41002":  supplier.Refused, // Invalid iccid format.
	"41003":  supplier.Refused, // Iccid is empty or format is wrong.
	"41013":  supplier.Refused, // Imsi is empty or format is wrong.
	"41014":  supplier.Refused, // Network param is empty or wrong.
	"41015":  supplier.Refused, // Imei is empty or format is wrong.
	"41040":  supplier.Refused, // Email is empty or format is wrong.
	"41041":  supplier.Refused, // Url is empty or format is wrong.
	"41004":  supplier.Refused, // Invalid startDate parameter.
	"41005":  supplier.Refused, // Invalid endDate parameter.
	"41006":  supplier.Refused, // Invalid date parameter.
	"41007":  supplier.Refused, // Batch card numbers exceed limit.
	"41008":  supplier.Refused, // Card number doesn't match operator.
	"41050":  supplier.Refused, // Package product attributes don't match card.
	"41009":  supplier.Refused, // Invalid startYearMonth parameter.
	"41010":  supplier.Refused, // Invalid endYearMonth parameter.
	"41011":  supplier.Refused, // Phone number is empty.
	"41012":  supplier.Refused, // Code is empty.
	"41018":  supplier.Refused, // Invalid package code for order.
	"41028":  supplier.Refused, // Card has no such package.
	"41029":  supplier.Refused, // Invalid package activation type param.
	"41031":  supplier.Refused, // You don't have this package.
	"41032":  supplier.Refused, // This operator is not supported currently.
	"41033":  supplier.Refused, // Please complete real - name verification first.
	"41034":  supplier.Refused, // Phone number already exists in address book.
	"41035":  supplier.Refused, // Reached API config limit of 10, configure in official account.
	"41037":  supplier.Refused, // Card has no monthly package.
	"41102":  supplier.Refused, // Invalid operation type (1: activate, 2: deactivate).
	"41019":  supplier.Refused, // Package activation type is empty or abnormal.
	"41020":  supplier.Refused, // Operator type param is empty or abnormal.
	"42022":  supplier.Refused, // Package ID cannot be empty.
	"42403":  supplier.Refused, // PageNum is empty or format is wrong.
	"42407":  supplier.Refused, // Invalid pageSize value.
	"42404":  supplier.Refused, // Invalid card pool number.
	"42405":  supplier.Refused, // Account has no such iccid card.
	"42408":  supplier.Refused, // Account has no such IMEI pool.
	"42406":  supplier.Refused, // User has no available packages for iccid.
	"42409":  supplier.Refused, // Invalid time format.
	"42000":  supplier.Refused, // SMS content is empty or exceeds limit.
	"42001":  supplier.Refused, // outTradeNo is empty or format is wrong (max 32 digits).
	"42003":  supplier.Refused, // OrderId is empty or format is wrong.
	"42005":  supplier.Refused, // This payment method is not supported.
	"42007":  supplier.Refused, // Package does not exist.
	"42009":  supplier.Refused, // Max 50 items can be queried.
	"43332":  supplier.Refused, // Parameter error.
	"50001":  supplier.Refused, // Package configuration is abnormal.
	"900911": supplier.Refused, // Card not found.
	"45101":  supplier.Refused, // Invalid SMS parameters.
	"45103":  supplier.Refused, // Exceeded card unlocking limit.
	"45104":  supplier.Refused, // Card doesn't need unlocking.
	"45105":  supplier.Refused, // Card status doesn't allow network switching.
	"45106":  supplier.Refused, // Remark cannot be empty.
	"45107":  supplier.Refused, // Switching to this network is not supported.
	"45108":  supplier.Refused, // Card product not found.
	"45109":  supplier.Refused, // eSIM product not found.
}

// KindOf says what an error code means for an order.
func KindOf(code string) supplier.Kind {
	if kind, ok := codes[code]; ok {
		return kind
	}
	return supplier.Unknown
}
