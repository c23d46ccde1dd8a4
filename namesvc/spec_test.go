package namesvc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

func spec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/SPEC-names.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sponsorsSpec is its third.
func sponsorsSpec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/SPEC-sponsors.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// validatorsSpec is the law's second part.
func validatorsSpec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/SPEC-validators.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSpec_IsShortAndHasAVersion: a specification that nobody reads to its end
// is none.
func TestSpec_IsShortAndHasAVersion(t *testing.T) {
	for _, text := range []string{spec(t), validatorsSpec(t), sponsorsSpec(t)} {
		shortWithVersion(t, strings.Split(text, "\n"))
	}
}

func shortWithVersion(t *testing.T, all []string) {
	t.Helper()
	if len(all)-1 > 400 {
		t.Errorf("%d lines", len(all))
	}
	if want := fmt.Sprintf("rule set %d", namesvc.Rules); !strings.HasPrefix(all[0], "# ") || !strings.Contains(all[0], "version 1") || !strings.Contains(all[0], want) {
		t.Errorf("the first line is %q", all[0])
	}
}

// TestSpec_ExamplesAreFromTheVectors compares every line of each example with
// the vector that it names.
func TestSpec_ExamplesAreFromTheVectors(t *testing.T) {
	n, faults := vectors.CheckExamples(vectorsDir, spec(t)+validatorsSpec(t)+sponsorsSpec(t))
	if n < 5 {
		t.Errorf("only %d examples", n)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// TestSpec_HasEveryRejectCode compares the table of §12 with the code.
func TestSpec_HasEveryRejectCode(t *testing.T) {
	_, section, _ := strings.Cut(spec(t), "## 12.")
	section, _, _ = strings.Cut(section, "\n## ")
	cell := regexp.MustCompile(`\| (\d+) ([a-z-]+) \(([a-z-]+)\) `)
	var got []string
	// Cells share their bars, so look for one after the other.
	for rest := section; ; {
		m := cell.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		got = append(got, rest[m[2]:m[3]]+" "+rest[m[4]:m[5]]+" "+rest[m[6]:m[7]])
		rest = rest[m[1]:]
	}
	var want []string
	for _, c := range codes()[1:] {
		want = append(want, fmt.Sprintf("%d %v %v", uint32(c), c, c.Kind()))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%v\nthe code\n%v", got, want)
	}
	// Each code is explained where it arises, by its name.
	for _, c := range codes()[1:] {
		if c != namesvc.UnknownRules && !strings.Contains(spec(t)+validatorsSpec(t)+sponsorsSpec(t), "*"+c.String()+"*") {
			t.Errorf("no rule says when an op is refused as %v", c)
		}
	}
}

// TestSpec_HasTheDefaultParameters compares the table of §9 with the code.
func TestSpec_HasTheDefaultParameters(t *testing.T) {
	p := namesvc.DefaultParams("main")
	want := []string{
		"min_handle", fmt.Sprint(p.MinHandle), "min_sponsored", fmt.Sprint(p.MinSponsored), "work_bits", fmt.Sprint(p.WorkBits), "work_kib", fmt.Sprint(p.WorkKiB),
		"daily", fmt.Sprint(p.Daily), "sponsor_daily", fmt.Sprint(p.SponsorDaily), "reveal", fmt.Sprint(p.Reveal), "max_expiry", fmt.Sprint(p.MaxExpiry),
		"quota_burst", fmt.Sprint(p.QuotaBurst), "quota_every", fmt.Sprint(p.QuotaEvery), "probation", fmt.Sprint(p.Probation),
		"liveness", fmt.Sprint(p.Liveness), "established", fmt.Sprint(p.Established), "lease", fmt.Sprint(p.LeaseTime),
		"dormant", fmt.Sprint(p.Dormant), "quarantine", fmt.Sprint(p.Quarantine), "undo", fmt.Sprint(p.Undo),
		"max_device", fmt.Sprint(p.MaxDevice), "checkpoint", fmt.Sprint(p.Checkpoint), "lanes.renewals", fmt.Sprint(p.Lanes.Renewals),
		"lanes.updates", fmt.Sprint(p.Lanes.Updates), "lanes.commits", fmt.Sprint(p.Lanes.Commits),
		"lanes.registrations", fmt.Sprint(p.Lanes.Registrations),
	}
	_, section, _ := strings.Cut(spec(t), "## 9.")
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z_.]+) \| (\d+)([smhd]?) \|`).FindAllStringSubmatch(section, -1) {
		n, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		unit := map[string]uint64{"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[m[3]]
		got = append(got, m[1], fmt.Sprint(n*unit))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%v\nthe code\n%v", got, want)
	}
}

// TestSpec_NamesTagsBoundsAndLeaves looks for what the code has fixed.
func TestSpec_NamesTagsBoundsAndLeaves(t *testing.T) {
	text := strings.Join(strings.Fields(spec(t)), " ")
	for _, tag := range []wire.Tag{
		wire.TagOp, wire.TagDevice, wire.TagAcceptance, wire.TagCommit, wire.TagWork, wire.TagCommitID, wire.TagNextRoot, wire.TagTie, wire.TagRequest,
	} {
		if !strings.Contains(text, "`"+strings.Trim(strconv.Quote(string(tag)), `"`)+"`") {
			t.Errorf("the tag %q is missing", tag)
		}
	}
	for _, want := range []string{
		fmt.Sprintf("an op %d,", namesvc.MaxOp), fmt.Sprintf("an entry %d,", namesvc.MaxEntry), fmt.Sprintf("a devices leaf %d,", namesvc.MaxDevicesLeaf),
		fmt.Sprintf("at most %d in the entry", namesvc.MaxHandles), fmt.Sprintf("1 to %d different root keys", namesvc.MaxRoots),
		fmt.Sprintf("At most %d (*bad-devices*)", namesvc.MaxDevices), fmt.Sprintf("up to %d concierges", namesvc.MaxConcierges),
		fmt.Sprintf("up to %d other names", namesvc.MaxAlsoKnownAs), fmt.Sprintf("up to %d urls and %d peers", namesvc.MaxURLs, namesvc.MaxPeers),
		fmt.Sprintf("%d to %d characters of", namesvc.MinHandle, namesvc.MaxHandle),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if want := fmt.Sprintf("`number` ≤ %d,%03d", namesvc.MaxSponsorDaily/1000, namesvc.MaxSponsorDaily%1000); !strings.Contains(sponsorsSpec(t), want) {
		t.Errorf("SPEC-sponsors does not say %q", want)
	}
	for k := namesvc.OpCommit; k <= namesvc.OpSponsor; k++ {
		if !strings.Contains(text, fmt.Sprintf("**%d %v**", uint8(k), k)) {
			t.Errorf("op %d, %v, has no rules", uint8(k), k)
		}
	}
	_, section, _ := strings.Cut(spec(t), "## 7.")
	for _, kind := range []byte("ahdkqmpvcors") {
		if !strings.Contains(section, fmt.Sprintf("\n| `%c` ", kind)) {
			t.Errorf("leaf kind %c is missing", kind)
		}
	}
}

// TestSpec_SectionsThatCodeNamesExist finds every "SPEC-names §n" in the law.
func TestSpec_SectionsThatCodeNamesExist(t *testing.T) {
	text := spec(t)
	found := 0
	for _, pattern := range []string{"*.go", "*/*.go", "../internal/*/*.go", "../docs/vectors/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`SPEC-names §(\d+)`).FindAllStringSubmatch(string(b), -1) {
				found++
				if !strings.Contains(text, "\n## "+m[1]+". ") {
					t.Errorf("%s names §%s", path, m[1])
				}
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d references found", found)
	}
}
