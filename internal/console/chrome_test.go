package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chrome is a browser window of this test's own.
type chrome struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	wrong []string // what the browser complained of
}

// newChrome starts Debian's chromium; without one the test is skipped at the desk
// and fails where CI is set.
func newChrome(t *testing.T) *chrome {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("no chromium here: tools/prepare installs it")
		}
		t.Fatal(err)
	}
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("font-render-hinting", "none"), chromedp.WSURLReadTimeout(time.Minute))
	alloc, end := chromedp.NewExecAllocator(context.Background(), opts...)
	first, stop := chromedp.NewContext(alloc)
	t.Cleanup(func() { _ = chromedp.Cancel(first); stop(); end() }) // Cancel waits for its end; what it says of that is its own affair
	c := &chrome{t: t, ctx: first}
	if err := chromedp.Listen(first, func(ev any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			c.wrong = append(c.wrong, ev.ExceptionDetails.Text)
		case *log.EventEntryAdded: // a policy that was violated, too
			if ev.Entry.Level == log.EntryLevelError && !strings.Contains(ev.Entry.Text, "status of 401") {
				c.wrong = append(c.wrong, ev.Entry.Text)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(first, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	// The first use starts the browser, whose life is that context's: all of the test's,
	// which may build the workers meanwhile.
	ctx, cancel := context.WithTimeout(first, 15*time.Minute)
	t.Cleanup(cancel)
	c.ctx = ctx
	return c
}

// do takes steps one after the other.
func (c *chrome) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		c.shot("failed-" + strings.ReplaceAll(what, "/", "_"))
		c.t.Fatalf("%s: %v", what, err)
	}
}

// ask is what an action answers.
func ask[T any](c *chrome, a chromedp.Action[T]) T {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		c.shot("failed-ask")
		c.t.Fatal(err)
	}
	return v
}

// shots is where screenshots are kept as artefacts; git does not see it.
func shots() string {
	if dir := os.Getenv("SCREENSHOTS_DIR"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", ".cache", "screenshots")
}

func (c *chrome) shot(name string) {
	c.t.Helper()
	png, err := chromedp.Run(c.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(shots(), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(shots(), name+".png"), png, 0o644)
	}
	if err != nil {
		c.t.Errorf("screenshot %s: %v", name, err)
	}
}

// window makes the browser a phone or a wide screen, dark or light.
func (c *chrome) window(width, height int64, scheme string) {
	c.t.Helper()
	opts := []chromedp.EmulateViewportOption{chromedp.EmulateScale(1)}
	if width < 760 {
		opts = append(opts, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	c.do("window", chromedp.EmulateViewport(width, height, opts...), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return err
	}))
}

func (c *chrome) enter(url, path string) {
	c.t.Helper()
	c.do("login", chromedp.Navigate(url+path), visible(`input[name=token]`), typed(`input[name=name]`, "mira"), typed(`input[name=token]`, testToken+kb.Enter), visible(`header.top`), scripted)
}

// scripted waits until the page's script has run: what is seen is there before it, and
// a key that is pressed then is lost.
var scripted = chromedp.WaitReady(chromedp.CSS(`html:not(.noscript)`))

func visible(css string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(css))
}

func typed(css, keys string) chromedp.Action[chromedp.Void] {
	return chromedp.SendKeys(chromedp.CSS(css), keys)
}

func (c *chrome) complaints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.wrong
	c.wrong = nil
	return out
}

// nameless lists what a screen reader would meet without a name.
func (c *chrome) nameless() (out []string) {
	c.t.Helper()
	res := ask(c, func(ctx context.Context, t *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	for _, n := range res.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role := strings.Trim(string(n.Role.Value), `"`)
		switch role {
		case "button", "link", "textbox", "searchbox", "combobox", "radio", "checkbox", "image", "navigation", "heading":
			if n.Name == nil || strings.Trim(string(n.Name.Value), `" `) == "" {
				out = append(out, role)
			}
		}
	}
	return out
}

// Every view on a phone and on a wide screen, dark and light: it is drawn without a
// complaint of the browser, nothing sticks out, nothing is nameless.
func TestEveryViewInChromium(t *testing.T) {
	r := newRig(t, true)
	r.seed()
	for range 3 { // something for the small charts to draw
		r.s.lines.take(t.Context())
	}
	c := newChrome(t)
	c.window(1280, 860, "light")
	c.do("the login", chromedp.Navigate(r.url), visible(`input[name=token]`))
	c.shot("login-wide-light")
	c.enter(r.url, "/")
	pages := map[string]string{"overview": "/", "orders": "/orders", "order": "/orders/held-1", "held": "/held", "dead": "/dead", "letter": "/dead/1", "replay": "/dead/replay?error=unknown_account",
		"coverage": "/coverage", "findings": "/findings", "usage": "/usage", "switches": "/switches", "audit": "/audit", "submit": "/orders/new", "problem": "/orders/nope"}
	for _, w := range []struct {
		name          string
		width, height int64
		scheme        string
	}{{"wide-light", 1280, 860, "light"}, {"wide-dark", 1280, 860, "dark"}, {"phone-light", 390, 844, "light"}, {"phone-dark", 390, 844, "dark"}} {
		c.window(w.width, w.height, w.scheme)
		for name, path := range pages {
			c.do(path, chromedp.Navigate(r.url+path), chromedp.WaitReady(chromedp.CSS(`footer`)))
			over := ask(c, chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
			h1 := ask(c, chromedp.Evaluate[int](`document.querySelectorAll("h1").length`))
			lang := ask(c, chromedp.Evaluate[string](`document.documentElement.lang`))
			ground := ask(c, chromedp.Evaluate[string](`getComputedStyle(document.documentElement).backgroundColor`))
			c.shot(name + "-" + w.name)
			if over > 0 {
				t.Errorf("%s, %s: sticks out by %d px", name, w.name, over)
			}
			if h1 != 1 || lang != "en" {
				t.Errorf("%s: %d headings, language %q", name, h1, lang)
			}
			if dark := strings.HasPrefix(ground, "rgb(16,"); dark != (w.scheme == "dark") {
				t.Errorf("%s, %s: the ground is %s", name, w.name, ground)
			}
			if wrong := c.complaints(); len(wrong) > 0 && name != "problem" {
				t.Errorf("%s, %s: the browser complains: %v", name, w.name, wrong)
			}
			if w.name == "wide-light" || w.name == "phone-light" {
				if n := c.nameless(); len(n) > 0 {
					t.Errorf("%s: without a name: %v", name, n)
				}
			}
		}
	}
}

// Nothing but the keyboard: find an order, read its story, ask for card data, set
// a switch.
func TestKeyboardOnly(t *testing.T) {
	r := newRig(t, true)
	r.seed()
	c := newChrome(t)
	c.window(1280, 860, "light")
	c.enter(r.url, "/")
	press := func(keys string) chromedp.Action[chromedp.Void] { return chromedp.KeyEvent(keys) }
	c.do("search", press("/"))
	if name := ask(c, chromedp.Evaluate[string](`document.activeElement.name || ""`)); name != "q" {
		t.Fatalf("/ leads to %q", name)
	}
	// The driver types the character even where the page took the key.
	c.do("find", press(kb.Backspace+"held-1"+kb.Enter), visible(`ol.story`))
	// tabTo goes on by Tab until what has the focus is wanted, and sees that it shows.
	tabTo := func(want string) {
		t.Helper()
		for range 120 {
			c.do("tab", press(kb.Tab))
			text := ask(c, chromedp.Evaluate[string](`(document.activeElement.innerText || document.activeElement.name || "") + ""`))
			if !ask(c, chromedp.Evaluate[bool](`document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none"`)) {
				t.Errorf("%q has the focus and does not show it", text)
			}
			if strings.TrimSpace(text) == want {
				return
			}
		}
		t.Fatalf("Tab never comes to %q", want)
	}
	tabTo("Show card data")
	c.do("reveal", press(kb.Enter))
	tabTo("reason")
	c.do("reason", press("the customer lost the mail"+kb.Enter), visible(`.said.warn`))
	if text := ask(c, chromedp.Text(chromedp.CSS(`main`))); !strings.Contains(text, "that you asked is written down") {
		t.Errorf("revealed: %s", text)
	}
	c.do("switches", chromedp.Navigate(r.url+"/switches"), visible(`main details`))
	tabTo("Turn on")
	c.do("open", press(kb.Enter))
	tabTo("reason")
	c.do("switch", press("who buys?"+kb.Enter), visible(`.pill.bad`))
	if got := fmt.Sprint(r.audits()); !strings.Contains(got, "order_reveal | held-1 | mira | the customer lost the mail | console") || !strings.Contains(got, "switch_set | all.pause | mira | who buys? | console") {
		t.Errorf("on AUDIT: %s", got)
	}
}
