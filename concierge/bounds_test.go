package concierge

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestBucket_LetsThroughWhatItShould(t *testing.T) {
	var b bucket
	now := time.Unix(1_800_000_000, 0)
	took := func(n int, at time.Time) (passed int) {
		for range n {
			if b.take(1, 2, 10, at) {
				passed++
			}
		}
		return passed
	}
	if n := took(100, now); n != 10 {
		t.Errorf("at once: %d, want 10", n)
	}
	if n := took(100, now.Add(3*time.Second)); n != 6 {
		t.Errorf("after 3 s at 2 a second: %d, want 6", n)
	}
	if n := took(100, now.Add(time.Hour)); n != 10 {
		t.Errorf("after an hour: %d, want 10", n)
	}
	// The clock steps back by hours.
	back := now.Add(-5 * time.Hour)
	took(100, back)
	if n := took(100, back.Add(5*time.Second)); n != 10 {
		t.Errorf("5 s after the clock stepped back: %d, want 10", n)
	}
}

// TestClient_WhatServersSayIsFitForATerminal: an error's text is shown, and whose
// it is may be anybody, such as a sponsor.
func TestClient_WhatServersSayIsFitForATerminal(t *testing.T) {
	const text = `no\u001b]0;gone\u0007\u202e\r\nconfab: all is well`
	res := &http.Response{StatusCode: http.StatusForbidden, Body: io.NopCloser(strings.NewReader(`{"code":"unauthorized","text":"` + text + `"}`))}
	err := failed(res)
	if got := err.Error(); wire.CodeOf(err) != wire.Unauthorized || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.Contains(got, "gone") {
		t.Errorf("it says %q", got)
	}
	bye := spoken{wire.Errorf(wire.Exhausted, "server says: \x1b[2J")}
	if wire.CodeOf(bye) != wire.Exhausted || strings.Contains(bye.Error(), "\x1b") {
		t.Errorf("it says %q", bye.Error())
	}
}

func TestJudgeDevice_KnowsWhyNot(t *testing.T) {
	now := time.Unix(1000, 0)
	k := fixedDevice(1).Public()
	for name, test := range map[string]struct {
		d  namesvc.Device
		ok bool
	}{
		"good":               {namesvc.Device{Key: k, Scopes: namesvc.AllScopes, Expires: 1001}, true},
		"only messages":      {namesvc.Device{Key: k, Scopes: namesvc.ScopeMessage, Expires: 1001}, true},
		"expired now":        {namesvc.Device{Key: k, Scopes: namesvc.AllScopes, Expires: 1000}, false},
		"may not message":    {namesvc.Device{Key: k, Scopes: namesvc.AllScopes &^ namesvc.ScopeMessage, Expires: 1001}, false},
		"somebody else's":    {namesvc.Device{Key: key.Public{2}, Scopes: namesvc.AllScopes, Expires: 1001}, false},
		"without any scopes": {namesvc.Device{Key: k, Expires: 1001}, false},
	} {
		d := namesvc.Devices{List: []namesvc.Device{test.d}}
		err := judgeDevice(d, k, now)
		if (err == nil) != test.ok || err != nil && wire.CodeOf(err) != wire.Unauthorized {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(standingOf(Service{}, namesvc.Entry{}, d, now).readers); n == 1 != (test.ok || name == "somebody else's") {
			t.Errorf("%s: %d readers", name, n)
		}
	}
}

// A concierge is named by account and generation, so that whoever takes the
// account over is not.
func TestStanding_NamesTheGenerationToo(t *testing.T) {
	me := Service{Account: namesvc.AccountID{1}, Generation: 2}
	for _, test := range []struct {
		c      namesvc.Concierge
		listed bool
	}{
		{namesvc.Concierge{Account: me.Account, Generation: 2}, true},
		{namesvc.Concierge{Account: me.Account, Generation: 1}, false},
		{namesvc.Concierge{Account: namesvc.AccountID{2}, Generation: 2}, false},
	} {
		e := namesvc.Entry{Records: namesvc.Records{Concierges: []namesvc.Concierge{test.c}}}
		if got := standingOf(me, e, namesvc.Devices{}, time.Time{}); got.listed != test.listed {
			t.Errorf("%+v: listed %v", test.c, got.listed)
		}
	}
}

func TestNetworkOf_CountsAsOperatorsDo(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.1": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48",
	} {
		if got := networkOf(host); got.String() != want {
			t.Errorf("%s is of %v, want %s", host, got, want)
		}
	}
}

// TestBucket_WhatIsOwedHasABound: neither a clock that stepped back nor many that
// owe and leave have others of their network wait for hours.
func TestBucket_WhatIsOwedHasABound(t *testing.T) {
	var b bucket
	now := time.Unix(1_000_000, 0)
	if wait := b.owe(3000, 1000, 2000, now); wait != time.Second {
		t.Errorf("for 3,000 bytes it waits %v", wait)
	}
	if wait := b.owe(1, 1000, 2000, now.Add(-time.Hour)); wait > longestDebt {
		t.Errorf("after the clock stepped back it waits %v", wait)
	}
	for range 1000 {
		b.owe(1000, 1000, 2000, now)
	}
	if wait := b.owe(1, 1000, 2000, now); wait > longestDebt {
		t.Errorf("after a thousand left it waits %v", wait)
	}
	if wait := b.owe(1, 1000, 2000, now.Add(longestDebt+2*time.Second)); wait != 0 {
		t.Errorf("when it was all paid for it waits %v", wait)
	}
}
