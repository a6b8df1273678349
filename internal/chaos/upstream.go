package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
)

// asked is one order as upstream knows it.
type asked struct {
	order.Request
	at time.Time // when its message was stored
}

// ask publishes every order at its time and returns once each is stored.
func (s *Site) ask(ctx context.Context) ([]asked, error) {
	all := make([]asked, s.cfg.Orders)
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for i := range all {
		all[i].Request = request(i)
		wg.Go(func() { errs[i] = s.publish(ctx, &all[i]) })
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// publish repeats the request until it is stored: whoever does not know whether it
// is may send it again.
func (s *Site) publish(ctx context.Context, a *asked) error {
	data, err := json.Marshal(a.Request)
	if err != nil {
		return err
	}
	for {
		_, err := s.bus.Publish(ctx, bus.NewMsg(bus.SubjectRequest(a.Supplier, a.Product), "", data))
		if err == nil {
			a.at = time.Now()
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("publish %s: %w", a.OrderID, err)
		}
	}
}

// request is the i-th order: mostly packages on many cards, some of every product.
func request(i int) order.Request {
	r := order.Request{OrderID: fmt.Sprintf("chaos-%05d", i), Supplier: order.EIOTCLUB, Account: order.DefaultAccount}
	switch i % 10 {
	case 1:
		price, err := order.NewMoney("2.72", "USD")
		if err != nil {
			panic(err) // a constant
		}
		r.Supplier, r.Product, r.PackageCode, r.PackageName, r.Price, r.Quantity = order.ESIMFly, order.ProductESIM, simesimfly.PackageCode, simesimfly.PackageName, &price, 1
	case 2, 7:
		r.Product, r.GoodsCode = order.ProductESIM, simeiotclub.GoodsCode
	case 3, 6:
		r.Product, r.EID, r.PackageCode = order.ProductCloudESIMPackage, fmt.Sprintf("3506%028d", i%97), simeiotclub.CloudPackageCode
	case 4:
		r.Product, r.PoolObjectID, r.PoolTypeCode = order.ProductPoolPackage, fmt.Sprint(simeiotclub.SeedPoolID), simeiotclub.PoolTypeCode
	default:
		r.Product, r.ICCID, r.PackageCode = order.ProductPackage, fmt.Sprintf("8988308650%09d", i%101), simeiotclub.PackageCode
	}
	return r
}

// badDay are the suppliers' faults: about one purchase in four is answered with
// nothing of use, half of those after it was made.
func (s *Site) badDay() {
	slow := fault.Duration(s.timeout() + s.timeout()/2)
	rules := func(before, after string) []fault.Rule {
		return []fault.Rule{
			{Kind: fault.LostReply, Probability: 0.05}, {Kind: fault.Reset, Probability: 0.03}, {Kind: fault.StatusBefore, Status: 502, Probability: 0.02},
			{Kind: fault.StatusAfter, Probability: 0.03}, {Kind: fault.HTMLAfter, Probability: 0.02}, {Kind: fault.HalfBody, Probability: 0.02},
			{Kind: fault.HugeBody, Probability: 0.002}, {Kind: fault.SlowAfter, Delay: slow, Probability: 0.01}, {Kind: fault.SlowBefore, Delay: slow, Probability: 0.005},
			{Kind: fault.TooManyRequests, Probability: 0.02}, {Kind: fault.NoFunds, Probability: 0.01},
			{Kind: fault.CodeBefore, Code: before, Probability: 0.02}, {Kind: fault.CodeAfter, Code: after, Probability: 0.02},
			{Kind: fault.DuplicateWithData, Probability: 0.2},
		}
	}
	seed := uint64(0)
	add := func(set *fault.Set, path, before, after string) {
		for _, r := range rules(before, after) {
			seed++
			r.Path, r.Seed = path, seed
			set.MustAdd(r)
		}
	}
	for _, path := range []string{"package/orderPackage", "/esim/purchase", "cloudesim/purchase", "pool/sub"} {
		add(s.eiotclub.Faults(), path, "43331", "500")
	}
	add(s.esimfly.Faults(), "POST /api/v1/business/esims/order", "ORDER_PROCESSING_ERROR", "ORDER_PROCESSING_ERROR")
	for _, path := range []string{"getOrderPackageDetails", "packageOrderRecord", "orderStatus", "record/list"} {
		s.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.StatusBefore, Path: path, Probability: 0.05, Seed: seed})
	}
	s.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.Hide, Looks: 3}) // what was just bought does not show at once
}

// goodDay ends the suppliers' faults.
func (s *Site) goodDay() {
	s.eiotclub.Faults().Clear()
	s.esimfly.Faults().Clear()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// latency makes each purchase take a while.
func (s *Site) latency(d time.Duration) {
	s.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.SlowAfter, Delay: fault.Duration(d)})
	s.esimfly.Faults().MustAdd(fault.Rule{Kind: fault.SlowAfter, Delay: fault.Duration(d)})
}
