//go:build unix

package testnet_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// chromium is a browser without a window, driven by the DevTools protocol over a
// pair of pipes: JSON messages that end in a zero byte.
type chromium struct {
	t   *testing.T
	ctx context.Context // bounds all that is asked of it
	in  *os.File

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	ended   error    // why it answers no more
	faults  []string // errors in the console, broken policies among them
}

type reply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// findChromium returns the browser's program, or ends the test: without one it
// is passed over, but in CI it must not be.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const why = "chromium is not here"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why + "; with CI=true this is a failure")
	return ""
}

// startChromium starts a browser with a profile of its own. It ends with the
// test, and everything that it started.
func startChromium(ctx context.Context, t *testing.T) *chromium {
	t.Helper()
	program := findChromium(t)
	itsIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, itsOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's own folder: its children may still write when it has ended, so
	// the profile is removed with patience.
	profile, err := os.MkdirTemp("", "confab-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{itsIn, itsOut} // 3 and 4, where it expects them
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	itsIn.Close()
	itsOut.Close()
	c := &chromium{t: t, ctx: ctx, in: in, waiting: map[int]chan reply{}}
	done := make(chan struct{})
	go func() { c.read(out); close(done) }()
	t.Cleanup(func() {
		c.send("", "Browser.close", nil)
		in.Close()
		over := make(chan struct{})
		go func() { cmd.Wait(); close(over) }()
		select {
		case <-over:
		case <-time.After(3 * time.Second):
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever of it is left
		<-over
		out.Close()
		<-done
		for range 50 {
			if os.RemoveAll(profile) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("the browser's profile %s cannot be removed", profile)
	})
	return c
}

// read hands out replies until the browser closes its end.
func (c *chromium) read(out *os.File) {
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		b, err := r.ReadBytes(0)
		c.mu.Lock()
		if err != nil {
			c.ended = fmt.Errorf("the browser has ended: %w", err)
			for _, w := range c.waiting {
				close(w)
			}
			c.waiting = map[int]chan reply{}
			c.mu.Unlock()
			return
		}
		var m reply
		if json.Unmarshal(b[:len(b)-1], &m) == nil {
			if w, ok := c.waiting[m.ID]; ok && m.ID > 0 {
				delete(c.waiting, m.ID)
				w <- m
			}
			if m.Method == "Log.entryAdded" && strings.Contains(string(m.Params), `"level":"error"`) ||
				m.Method == "Runtime.exceptionThrown" || m.Method == "Runtime.consoleAPICalled" {
				c.faults = append(c.faults, string(m.Params))
			}
		}
		c.mu.Unlock()
	}
}

// send sends one command and returns where its reply will come; session is empty
// for the browser itself.
func (c *chromium) send(session, method string, params map[string]any) (chan reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return nil, c.ended
	}
	c.next++
	message := map[string]any{"id": c.next, "method": method, "params": params}
	if session != "" {
		message["sessionId"] = session
	}
	b, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	w := make(chan reply, 1)
	c.waiting[c.next] = w
	_, err = c.in.Write(append(b, 0))
	return w, err
}

// call sends one command and returns what it came to.
func (c *chromium) call(session, method string, params map[string]any) (json.RawMessage, error) {
	w, err := c.send(session, method, params)
	if err != nil {
		return nil, err
	}
	select {
	case m, ok := <-w:
		switch {
		case !ok:
			return nil, errors.New("the browser has ended")
		case m.Error != nil:
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-c.ctx.Done():
		return nil, fmt.Errorf("%s: %w", method, c.ctx.Err())
	}
}

// takeFaults returns what the console has complained about since the last call.
func (c *chromium) takeFaults() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.faults
	c.faults = nil
	return f
}

// tab is a page in the browser.
type tab struct {
	*chromium
	session string
}

// tab opens an empty page of this size.
func (c *chromium) tab(width, height int) *tab {
	c.t.Helper()
	var target struct{ TargetID, SessionID string }
	p := &tab{chromium: c}
	b := p.must("Target.createTarget", map[string]any{"url": "about:blank"})
	if err := json.Unmarshal(b, &target); err != nil {
		c.t.Fatal(err)
	}
	b = p.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true})
	if err := json.Unmarshal(b, &target); err != nil {
		c.t.Fatal(err)
	}
	p.session = target.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		p.must(domain+".enable", nil)
	}
	p.must("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
	return p
}

// must is call that ends the test if it fails.
func (p *tab) must(method string, params map[string]any) json.RawMessage {
	p.t.Helper()
	b, err := p.call(p.session, method, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// open goes to an address and waits until it has loaded.
func (p *tab) open(url string) {
	p.t.Helper()
	p.must("Page.navigate", map[string]any{"url": "about:blank"})
	p.wait(`location.href === "about:blank"`)
	p.must("Page.navigate", map[string]any{"url": url})
	p.wait(`location.href !== "about:blank" && document.readyState === "complete"`)
}

// eval returns what an expression is in the page.
func (p *tab) eval(expression string) any {
	p.t.Helper()
	v, err := p.evaluate(expression)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p *tab) evaluate(expression string) (any, error) {
	b, err := p.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if err != nil {
		return nil, err
	}
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if r.ExceptionDetails != nil {
		return nil, fmt.Errorf("%s: %s", expression, r.ExceptionDetails.Exception.Description)
	}
	return r.Result.Value, nil
}

// wait returns when an expression is true in the page. While a page is being
// left, expressions fail; that is not the end.
func (p *tab) wait(expression string) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := p.evaluate(expression)
		if err == nil && v == true {
			return
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			text, _ := p.evaluate("document.body.innerText")
			p.t.Fatalf("waited in vain for %s: %v, %v; the page says:\n%v", expression, v, err, text)
		}
	}
}

// text returns what a person reads in the page.
func (p *tab) text() string {
	p.t.Helper()
	s, _ := p.eval("document.body.innerText").(string)
	return s
}

// says fails the test unless the page says all this.
func (p *tab) says(want ...string) {
	p.t.Helper()
	text := p.text()
	for _, w := range want {
		if !strings.Contains(text, w) {
			p.t.Errorf("the page does not say %q:\n%s", w, text)
		}
	}
}

// press presses a key and lets it go.
func (p *tab) press(key string) {
	p.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13}
	text := map[string]string{"Enter": "\r"}[key]
	for _, kind := range []string{"keyDown", "keyUp"} {
		p.must("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": codes[key], "text": text})
	}
}

// write types a text.
func (p *tab) write(text string) {
	p.t.Helper()
	p.must("Input.insertText", map[string]any{"text": text})
}

// picture saves how the page looks, for people, if CONFAB_SCREENSHOTS names a
// folder.
func (p *tab) picture(name string) {
	p.t.Helper()
	dir := os.Getenv("CONFAB_SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	var size struct {
		CSSContentSize struct{ Width, Height float64 }
	}
	if err := json.Unmarshal(p.must("Page.getLayoutMetrics", nil), &size); err != nil {
		p.t.Fatal(err)
	}
	clip := map[string]any{"x": 0, "y": 0, "width": size.CSSContentSize.Width, "height": size.CSSContentSize.Height, "scale": 1}
	if err := json.Unmarshal(p.must("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true, "clip": clip}), &shot); err != nil {
		p.t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
