package wire

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// Audit is what a person is about to do, who and why. It is durable before the
// deed; whether the deed was done, its own messages tell.
type Audit struct {
	Action string    `json:"action"` // one of Actions
	Target string    `json:"target"` // what it is done to: an order id, a dead letter's sequence, a switch, a file
	Actor  string    `json:"actor"`  // who; 1 to 100 characters
	Reason string    `json:"reason"` // why, in the person's words; 1 to 1,000 characters
	Via    string    `json:"via"`    // simctl or console
	At     time.Time `json:"at"`
	// Detail is what else was said. Never a secret or a card's number.
	Detail map[string]string `json:"detail,omitempty"`
}

// Actions of an Audit.
const (
	ActOrderSubmit    = "order_submit"
	ActOrderResolve   = "order_resolve"
	ActOrderCancel    = "order_cancel"
	ActOrderReveal    = "order_reveal" // card data was asked for
	ActDeadReplay     = "dead_replay"
	ActDeadEdit       = "dead_edit"   // replayed with another body
	ActDeadReveal     = "dead_reveal" // card data was asked for
	ActSwitchSet      = "switch_set"
	ActFindingAccept  = "finding_accept"
	ActReconRun       = "recon_run"
	ActCDRReread      = "cdr_reread"
	ActNetworksImport = "networks_import"
	ActSpoolDrain     = "spool_drain"
	ActStreamsBackup  = "streams_backup"  // everything was copied, card data included
	ActStreamsRestore = "streams_restore" // the first that a restored AUDIT has of its new life
)

// Actions lists them.
var Actions = []string{ActOrderSubmit, ActOrderResolve, ActOrderCancel, ActOrderReveal, ActDeadReplay, ActDeadEdit, ActDeadReveal,
	ActSwitchSet, ActFindingAccept, ActReconRun, ActCDRReread, ActNetworksImport, ActSpoolDrain, ActStreamsBackup, ActStreamsRestore}

// Ways by which a person acts.
const (
	ViaSimctl  = "simctl"
	ViaConsole = "console"
)

// Validate says what is wrong with an audit record.
func (a *Audit) Validate() error {
	texts := map[string]string{"reason": a.Reason, "actor": a.Actor, "target": a.Target}
	for name, v := range a.Detail {
		texts["detail "+name] = v
	}
	switch {
	case !slices.Contains(Actions, a.Action):
		return fmt.Errorf("action %.40q is not known", a.Action)
	case !slices.Contains([]string{ViaSimctl, ViaConsole}, a.Via):
		return fmt.Errorf("via %.40q is not simctl or console", a.Via)
	case a.Actor == "" || utf8.RuneCountInString(a.Actor) > 100:
		return errors.New("actor is missing or over 100 characters")
	case a.Reason == "":
		return errors.New("reason is missing")
	case a.Target == "" || utf8.RuneCountInString(a.Target) > 255:
		return errors.New("target is missing or over 255 characters")
	}
	return errors.Join(checkTexts(texts), checkTime("at", a.At))
}
