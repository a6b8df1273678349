package reconciler

// Finding kinds; the last token of a finding's subject.
const (
	KindMissingThere  = "order_missing_there"
	KindMissingHere   = "order_missing_here"
	KindState         = "order_state"
	KindPrice         = "order_price"
	KindCurrency      = "order_currency"
	KindPackage       = "order_package"
	KindRefund        = "order_refund"
	KindDuplicate     = "order_duplicate"
	KindStuck         = "order_stuck"
	KindConflict      = "evidence_conflict"
	KindUsageMissing  = "usage_missing"
	KindUsageSurplus  = "usage_surplus"
	KindTaskStuck     = "task_stuck"
	KindTaskFailed    = "task_failed"
	KindBalanceGap    = "balance_gap"
	KindBalanceLow    = "balance_low"
	KindNotification  = "notification_missing"
	KindWindowMissing = "cdr_window_missing"
	KindWindowLate    = "cdr_window_late"
	severityInfo      = "info"
	severityWarning   = "warning"
	severityCritical  = "critical"
	statusOpen        = "open"
	statusClosed      = "closed"
	statusAccepted    = "accepted"
)

// Kind is what is fixed for all findings of one kind.
type Kind struct {
	Name     string
	Severity string // info, warning, critical
	Meaning  string
	Action   string // what a person may do about it
}

// Kinds is every kind of finding, in the order of the documentation.
var Kinds = []Kind{
	{KindMissingThere, severityCritical, "we say that it was bought, the supplier does not know it", "ask the supplier for the order by both ids; resolve the order by hand if it was never placed"},
	{KindMissingHere, severityCritical, "the supplier sold it under an order id that the ledger does not know", "find out who else buys with this account's key; ask for a refund if nobody wanted it"},
	{KindState, severityCritical, "one side says that it was bought, the other that it was not", "ask the supplier; resolve the order by hand if evidence does not settle it"},
	{KindPrice, severityWarning, "it cost another amount than we recorded or allowed", "claim the difference from the supplier, or accept it with a reason"},
	{KindCurrency, severityWarning, "it was charged in another currency than we recorded", "check the account's currency with the supplier"},
	{KindPackage, severityWarning, "another package or card than was ordered", "ask the supplier to exchange it, or move the package"},
	{KindRefund, severityWarning, "one side says that it was refunded, the other does not", "compare with the account's balance; claim the refund if it did not arrive"},
	{KindDuplicate, severityCritical, "bought more than once under one order id", "refund the surplus orders at the supplier"},
	{KindStuck, severityWarning, "neither settled nor moving for too long", "look at its look-up log; resolve it by hand if the supplier cannot say"},
	{KindConflict, severityWarning, "what the supplier shows or said of an order contradicts what the ledger settled", "ask the supplier which is true and charged; settle it there or with simctl order, then accept this finding"},
	{KindUsageMissing, severityWarning, "the supplier counts more bytes than our CDRs", "read the named files again; ask the supplier to send them anew"},
	{KindUsageSurplus, severityWarning, "our CDRs hold more bytes than the supplier counts", "look for records that were withdrawn or corrected"},
	{KindTaskStuck, severityWarning, "a tracked task does not end", "ask the supplier about the task"},
	{KindTaskFailed, severityWarning, "a tracked task failed", "read its result; repeat it if it is still wanted, then accept this finding"},
	{KindBalanceGap, severityCritical, "the account's balance does not follow from what was bought, refunded and topped up", "look for a second purchase or a purchase by others; accept it if it was a top-up"},
	{KindBalanceLow, severityWarning, "the account's money ends soon at the present rate", "top up the account"},
	{KindNotification, severityInfo, "a purchase or refund that the supplier confirms was never notified", "check the notification URL at the supplier and ingest's refused ones"},
	{KindWindowMissing, severityWarning, "no loaded CDR file covers this time", "ask the supplier to send the files anew"},
	{KindWindowLate, severityInfo, "the CDR files of this time came late", "none, unless it happens often"},
}

// Jobs, as in RECON_CRON_<JOB> and --once.
const (
	JobUnsettled     = "unsettled"
	JobRecords       = "records"
	JobTasks         = "tasks"
	JobUsage         = "usage"
	JobBalance       = "balance"
	JobNotifications = "notifications"
	JobCoverage      = "coverage"
	JobConflicts     = "conflicts"
)

// JobNames lists the jobs.
var JobNames = []string{JobUnsettled, JobRecords, JobTasks, JobUsage, JobBalance, JobNotifications, JobCoverage, JobConflicts}

// kindsOf says which job reports a kind. Evidence conflicts in what lists show, which
// records reports, and in what orderer was told and set aside: conflicts.
var kindsOf = map[string][]string{
	JobUnsettled:     {KindStuck},
	JobRecords:       {KindMissingThere, KindMissingHere, KindState, KindPrice, KindCurrency, KindPackage, KindRefund, KindDuplicate, KindConflict},
	JobTasks:         {KindTaskStuck, KindTaskFailed},
	JobUsage:         {KindUsageMissing, KindUsageSurplus},
	JobBalance:       {KindBalanceGap, KindBalanceLow},
	JobNotifications: {KindNotification},
	JobCoverage:      {KindWindowMissing, KindWindowLate},
	JobConflicts:     {KindConflict},
}

// KindOf finds a kind by name.
func KindOf(name string) (Kind, bool) {
	for _, k := range Kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}
