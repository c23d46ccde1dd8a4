package namesvc_test

import (
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc"
)

func TestParams_DefaultsAreWithinBounds(t *testing.T) {
	for _, p := range []namesvc.Params{namesvc.DefaultParams("main"), namesvc.DevParams("dev")} {
		if err := p.Check(); err != nil {
			t.Error(err)
		}
		got, err := namesvc.DecodeParams(p.Encode())
		if err != nil || got != p {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestParams_EachBoundIsKept(t *testing.T) {
	const century = 100 * 365 * 86400
	for name, c := range map[string]struct {
		set    func(*namesvc.Params, uint64)
		lo, hi uint64
	}{
		"min_handle":    {func(p *namesvc.Params, n uint64) { p.MinHandle, p.MinSponsored = uint8(n), 3 }, 3, 20},
		"min_sponsored": {func(p *namesvc.Params, n uint64) { p.MinSponsored = uint8(n) }, 3, 8},
		"sponsor_daily": {func(p *namesvc.Params, n uint64) { p.SponsorDaily = uint32(n) }, 0, 65536},
		"work_bits":     {func(p *namesvc.Params, n uint64) { p.WorkBits = uint8(n) }, 0, 40},
		"work_kib":      {func(p *namesvc.Params, n uint64) { p.WorkKiB = uint32(n) }, 8, 65536},
		"daily":         {func(p *namesvc.Params, n uint64) { p.Daily = uint32(n) }, 1, 1 << 30},
		"reveal":        {func(p *namesvc.Params, n uint64) { p.Reveal = n }, 2, 1 << 20},
		"max_expiry":    {func(p *namesvc.Params, n uint64) { p.MaxExpiry = n }, 2, 1 << 20},
		"quota_burst":   {func(p *namesvc.Params, n uint64) { p.QuotaBurst = uint32(n) }, 6, 1 << 20},
		"quota_every":   {func(p *namesvc.Params, n uint64) { p.QuotaEvery = n }, 0, 86400},
		"probation":     {func(p *namesvc.Params, n uint64) { p.Probation = n }, 1, century},
		"liveness":      {func(p *namesvc.Params, n uint64) { p.Liveness = n }, 1, century},
		"established":   {func(p *namesvc.Params, n uint64) { p.Established = n }, 0, century},
		"lease":         {func(p *namesvc.Params, n uint64) { p.LeaseTime = n }, 1, century},
		"dormant":       {func(p *namesvc.Params, n uint64) { p.Dormant = n }, 0, century},
		"quarantine":    {func(p *namesvc.Params, n uint64) { p.Quarantine = n }, 0, century},
		"undo":          {func(p *namesvc.Params, n uint64) { p.Undo = n }, 0, century},
		"max_device":    {func(p *namesvc.Params, n uint64) { p.MaxDevice = n }, 1, century},
		"checkpoint":    {func(p *namesvc.Params, n uint64) { p.Checkpoint = n }, 2, 1 << 20},
		"renewals":      {func(p *namesvc.Params, n uint64) { p.Lanes.Renewals = uint32(n) }, 1, 1 << 20},
		"updates":       {func(p *namesvc.Params, n uint64) { p.Lanes.Updates = uint32(n) }, 1, 1 << 20},
		"commits":       {func(p *namesvc.Params, n uint64) { p.Lanes.Commits = uint32(n) }, 1, 1 << 20},
		"registrations": {func(p *namesvc.Params, n uint64) { p.Lanes.Registrations = uint32(n) }, 1, 1 << 20},
	} {
		try := func(n uint64) error {
			p := namesvc.DefaultParams("main")
			c.set(&p, n)
			return p.Check()
		}
		if err := try(c.lo); err != nil {
			t.Errorf("%s = %d: %v", name, c.lo, err)
		}
		if err := try(c.hi); err != nil {
			t.Errorf("%s = %d: %v", name, c.hi, err)
		}
		if c.lo > 0 && try(c.lo-1) == nil {
			t.Errorf("%s = %d is accepted", name, c.lo-1)
		}
		if err := try(c.hi + 1); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s = %d: %v", name, c.hi+1, err)
		}
	}
	p := namesvc.DefaultParams("main")
	p.Version = 2
	if p.Check() == nil {
		t.Error("version 2 is accepted")
	}
}

func TestCheckChain(t *testing.T) {
	for chain, ok := range map[string]bool{
		"a": true, "confab-1": true, strings.Repeat("a", 50): true,
		"": false, strings.Repeat("a", 51): false, "Confab": false, "con fab": false, "confab_1": false, "confab\n": false, "cönfab": false, "a/b": false,
	} {
		if err := namesvc.CheckChain(chain); (err == nil) != ok {
			t.Errorf("%q: %v", chain, err)
		}
	}
}

func TestRequiredBits_DoublesWithEachDailyNumber(t *testing.T) {
	p := namesvc.DefaultParams("main")
	p.WorkBits, p.Daily = 10, 100
	const day = 86400
	for _, c := range []struct {
		meter namesvc.Meter
		time  uint64
		want  int
	}{
		{namesvc.Meter{}, 0, 10},
		{namesvc.Meter{Day: 5, Commits: 99}, 5 * day, 10},
		{namesvc.Meter{Day: 5, Commits: 100}, 5 * day, 11},
		{namesvc.Meter{Day: 5, Commits: 199}, 6*day - 1, 11},
		{namesvc.Meter{Day: 5, Commits: 200}, 5*day + 7, 12},
		{namesvc.Meter{Day: 5, Commits: 200}, 6 * day, 10},
		{namesvc.Meter{Day: 5, Commits: 200}, 4 * day, 10},
		{namesvc.Meter{Day: 5, Commits: 2000}, 5 * day, 30},
		{namesvc.Meter{Day: 5, Commits: 1<<32 - 1}, 5 * day, 30},
	} {
		if got := namesvc.RequiredBits(p, c.meter, c.time); got != c.want {
			t.Errorf("%v at %d: %d bits, want %d", c.meter, c.time, got, c.want)
		}
	}
}
