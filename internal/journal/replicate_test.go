package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
	"github.com/shiplift/shiplift/internal/wait"
)

const runID = "20260711T020304Z-7f3a"

func note(i int) Record { return Record{Kind: Note, Time: t0, Reason: fmt.Sprint(i)} }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBarrierWaitsForTheActingNodeAndOneOther(t *testing.T) {
	t.Parallel()
	for _, serial := range []bool{false, true} {
		t.Run(fmt.Sprintf("serial=%v", serial), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testBarrier(t, serial) })
		})
	}
}

func testBarrier(t *testing.T, serial bool) {
	ctx := context.Background()
	set, m := fakes("db1", "db2", "db3")
	inv := inventory("db1", "db2", "db3")
	l, err := Acquire(ctx, set, inv, operator("ann", 1), "apply", LeaseOptions{Clock: wait.Real{}, Serial: serial})
	must(t, err)
	j := NewMemory(nil)
	r := Replicate(j, runID, l.Hosts(), inv, CopyOptions{Extra: 1, Serial: serial})
	defer r.Close()
	same := func(names ...string) {
		t.Helper()
		want, err := j.Bytes(0)
		must(t, err)
		for _, n := range names {
			if d := cmp.Diff(string(want), m[n].files[CopyFile(inv, n, runID)]); d != "" {
				t.Fatalf("%s: %s", n, d)
			}
		}
	}
	must(t, r.Append(ctx, sample(3)...))
	must(t, r.Barrier(ctx, "db2"))
	same("db2", "db1")
	must(t, r.Append(ctx, note(1)))
	must(t, r.Append(ctx, note(2)))
	m["db1"].set(true, false)
	must(t, r.Barrier(ctx, "db2"))
	must(t, r.Barrier(ctx, "db2"))
	same("db2", "db3")

	// An acting node that is down is named; others go on without it.
	must(t, r.Append(ctx, note(3)))
	err = r.Barrier(ctx, "db1", "db2")
	var p *say.Problem
	if !errors.As(err, &p) || p.Place != "db1" {
		t.Fatalf("got %v", err)
	}
	if got := r.Flush(ctx, time.Second); !cmp.Equal(got, []string{"db1"}) {
		t.Fatalf("behind: %v", got)
	}
	same("db2", "db3")

	// A node that is back is caught up, from the byte its copy was cut at.
	m["db1"].set(false, false)
	file := CopyFile(inv, "db1", runID)
	m["db1"].files[file] = m["db1"].files[file][:100]
	must(t, r.Append(ctx, note(4)))
	if serial {
		time.Sleep(time.Minute)
		must(t, r.Barrier(ctx, "db1"))
	} else {
		time.Sleep(2 * time.Minute) // by itself
		synctest.Wait()
	}
	same("db1")

	// A write whose answer was lost happened: nothing stands there twice.
	must(t, r.Append(ctx, note(5)))
	m["db1"].lose = 1
	if err := r.Barrier(ctx, "db1"); err == nil {
		t.Fatal("an unknown outcome counts as stored")
	}
	must(t, r.Barrier(ctx, "db1"))
	same("db1")
	if len(r.Flush(ctx, time.Second)) != 0 {
		t.Fatal(r.Trouble())
	}
	same("db1", "db2", "db3")
}

func TestAHangingNodeDoesNotHoldTheRunUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		set, m := fakes("db1", "db2", "db3")
		j := NewMemory(nil)
		m["db2"].set(false, true)
		r := Replicate(j, runID, set, inventory("db1", "db2", "db3"), CopyOptions{Extra: 2})
		defer r.Close()
		began := time.Now()
		for i := range 10 {
			must(t, r.Append(ctx, note(i)))
			must(t, r.Barrier(ctx, "db1"))
		}
		if d := time.Since(began); d > 25*time.Second {
			t.Fatalf("ten barriers took %s", d)
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		must(t, r.Append(ctx, note(10)))
		if err := r.Barrier(ctx, "db2"); err == nil {
			t.Fatal("the hanging node counts as stored")
		}
	})
}

func TestLinesThatNobodyWaitsForGoOutAsOneWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		set, m := fakes("db1")
		inv := inventory("db1")
		j := NewMemory(nil)
		r := Replicate(j, runID, set, inv, CopyOptions{})
		defer r.Close()
		must(t, r.Append(ctx, sample(1)...))
		must(t, r.Barrier(ctx, "db1"))
		m["db1"].runs = nil
		for i := range 50 {
			must(t, r.Append(ctx, note(i)))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if d := cmp.Diff([]string{"dd"}, m["db1"].runs); d != "" {
			t.Fatal(d)
		}
		want, _ := j.Bytes(0)
		if m["db1"].files[CopyFile(inv, "db1", runID)] != string(want) {
			t.Fatal("the copy differs")
		}
	})
}

func TestACopyThatIsNotAPrefix(t *testing.T) {
	t.Parallel()
	ours := NewMemory(nil)
	write(t, ours, sample(3)...)
	all, _ := ours.Bytes(0)
	fork := func(r Record) []byte {
		j := NewMemory(nil)
		write(t, j, sample(2)...)
		write(t, j, r)
		b, _ := j.Bytes(0)
		return b
	}
	longer := NewMemory(nil)
	write(t, longer, sample(3)...)
	write(t, longer, Record{Kind: Intent, Time: t0, Step: "db9/x"})
	more, _ := longer.Bytes(0)
	changed := append([]byte(nil), all...)
	changed[len(changed)/2] ^= 1
	tests := map[string]struct {
		copy     []byte
		diverged bool
	}{
		"damaged: rewritten":                       {copy: changed},
		"garbage: rewritten":                       {copy: []byte("hello")},
		"empty: written":                           {copy: []byte{}},
		"another end that only notes: rewritten":   {copy: fork(Record{Kind: Outcome, Time: t0, Result: OK})},
		"another end that changed something: kept": {copy: fork(Record{Kind: Intent, Time: t0, Step: "db1/y"}), diverged: true},
		"longer than ours, with an intent: kept":   {copy: more, diverged: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, m := fakes("db1")
			inv := inventory("db1")
			file := CopyFile(inv, "db1", runID)
			m["db1"].files[file] = string(tc.copy)
			r := Replicate(ours, runID, set, inv, CopyOptions{Serial: true})
			err := r.Barrier(context.Background(), "db1")
			var de *DivergedError
			if errors.As(err, &de) != tc.diverged || (err != nil) != tc.diverged {
				t.Fatal(err)
			}
			want := string(all)
			if tc.diverged {
				want = string(tc.copy)
			}
			if d := cmp.Diff(want, m["db1"].files[file]); d != "" {
				t.Fatal(d)
			}
		})
	}
}

func TestCopiesOnRealMachinesAreFoundFromAnother(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, inv := shells(t, "db1", "db2", "db3"), inventory("db1", "db2", "db3")
	here := Store{Dir: t.TempDir(), Cluster: "shop-1", Clock: wait.Real{}}
	l := acquire(t, set, inv, operator("ann", 1))
	j, err := here.New(runID)
	must(t, err)
	r := Replicate(j, runID, l.Hosts(), inv, CopyOptions{Extra: 2})
	for _, rec := range sample(4) {
		must(t, r.Append(ctx, rec))
		must(t, r.Barrier(ctx, "db2"))
	}
	r.Close()
	must(t, l.Release(ctx))
	// One copy is cut, one is damaged.
	cut := filepath.Join(set["db1"].(*host.Local).Dir, CopyFile(inv, "db1", runID))
	data, err := os.ReadFile(cut)
	must(t, err)
	must(t, os.WriteFile(cut, data[:len(data)-7], 0o600))
	bad := filepath.Join(set["db3"].(*host.Local).Dir, CopyFile(inv, "db3", runID))
	data[20] ^= 1
	must(t, os.WriteFile(bad, data, 0o600))

	there := Store{Dir: t.TempDir(), Cluster: "shop-1", Clock: wait.Real{}}
	f, err := there.Find(ctx, set, inv, false)
	must(t, err)
	if f.From != "db2" || f.Local || len(f.Log.Records) != 4 || f.Bad["db3"] == nil || f.Bad["db1"] != nil {
		t.Fatalf("found on %q, %d records, bad: %v", f.From, len(f.Log.Records), f.Bad)
	}
	k, err := there.Adopt(f)
	must(t, err)
	if k.Head() != j.Head() {
		t.Fatal("another history")
	}
	must(t, k.Append(ctx, note(1), Record{Kind: Intent, Time: t0, Step: "db1/y"}))

	// The first machine now has less than the second one's copies.
	l = acquire(t, set, inv, operator("bob", 1))
	r = Replicate(k, runID, l.Hosts(), inv, CopyOptions{})
	if behind := r.Flush(ctx, 10*time.Second); len(behind) != 0 {
		t.Fatal(r.Trouble())
	}
	r.Close()
	if f, err = here.Find(ctx, set, inv, true); err != nil || f.Local || len(f.Log.Records) != 6 {
		t.Fatalf("%+v, %v", f, err)
	}
	// And when the first one went on by itself, both refuse.
	must(t, j.Append(ctx, Record{Kind: Intent, Time: t0, Step: "db1/z"}))
	var de *DivergedError
	if _, err = here.Find(ctx, set, inv, true); !errors.As(err, &de) || de.Common != 4 {
		t.Fatal(err)
	}
}

func TestNothingIsFoundWhereNothingWas(t *testing.T) {
	t.Parallel()
	set, inv := shells(t, "db1"), inventory("db1")
	s := Store{Dir: filepath.Join(t.TempDir(), "none"), Cluster: "c"}
	if f, err := s.Find(context.Background(), set, inv, false); f != nil || err != nil {
		t.Fatal(f, err)
	}
	if _, err := os.Stat(s.Dir); err == nil {
		t.Fatal("looking made a directory")
	}
}

func TestARunWithoutAWholeFirstRecordNeverWas(t *testing.T) {
	t.Parallel()
	tests := map[string]func(whole []byte) []byte{
		"the process died before its first record":      func([]byte) []byte { return nil },
		"the disk was full in the middle of the first":  func(whole []byte) []byte { return whole[:len(whole)/2] },
		"the first record lacks only the end of a line": func(whole []byte) []byte { return whole[:len(whole)-1] },
	}
	for name, cut := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, inv := shells(t, "db1"), inventory("db1")
			s := Store{Dir: t.TempDir(), Cluster: "c", Clock: wait.Real{}}
			earlier, later := "20260711T020304Z-0001", "20260712T020304Z-0002"
			j, err := s.New(later)
			must(t, err)
			must(t, j.Append(t.Context(), sample(1)...))
			must(t, j.Close())
			whole, err := os.ReadFile(s.Path(later))
			must(t, err)
			must(t, os.WriteFile(s.Path(later), cut(whole), 0o600))
			if f, err := s.Find(t.Context(), set, inv, false); f != nil || err != nil {
				t.Fatalf("alone: %+v, %v", f, err)
			}
			j, err = s.New(earlier)
			must(t, err)
			must(t, j.Append(t.Context(), sample(2)...))
			must(t, j.Close())
			f, err := s.Find(t.Context(), set, inv, false)
			if err != nil || f == nil || f.Run != earlier || len(f.Log.Records) != 2 {
				t.Fatalf("behind a whole one: %+v, %v", f, err)
			}
		})
	}
}

func TestRunIDsSortByTimeAlsoWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ after, want string }{
		"first":              {"", "20260711T020304Z-7f3a"},
		"later":              {"20260710T020304Z-ffff", "20260711T020304Z-7f3a"},
		"in the same second": {"20260711T020304Z-ffff", "20260711T020305Z-7f3a"},
		"clock set back":     {"20260712T235959Z-ffff", "20260713T000000Z-7f3a"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := NewRunID(t0, strings.NewReader("\x7f\x3a"), tc.after)
			if err != nil || id != tc.want || !IsRunID(id) {
				t.Fatalf("%s, %v", id, err)
			}
		})
	}
}

func TestTheStoreListsRunsAndLocksTheCluster(t *testing.T) {
	t.Parallel()
	s := Store{Dir: filepath.Join(t.TempDir(), "deep", "state"), Cluster: "shop-1", Clock: wait.Real{}}
	for _, id := range []string{"20260712T000000Z-0000", runID} {
		j, err := s.New(id)
		must(t, err)
		must(t, j.Close())
	}
	must(t, os.WriteFile(s.Path("notes"), nil, 0o600))
	if cur, err := s.Current(); err != nil || cur != "20260712T000000Z-0000" {
		t.Fatal(cur, err)
	}
	lock, err := s.Lock(operator("ann", 7).Who, "apply of "+runID)
	must(t, err)
	_, err = s.Lock(operator("bob", 8).Who, "x")
	var held *HeldError
	if !errors.As(err, &held) || held.Who.User != "ann" || held.Doing != "apply of "+runID || held.Since.IsZero() {
		t.Fatal(err)
	}
	must(t, lock.Unlock())
	lock, err = s.Lock(operator("bob", 8).Who, "x")
	must(t, err)
	must(t, lock.Unlock())
}

func TestAPlaceThatCannotBeWrittenIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	_, err := Store{Dir: file, Cluster: "c"}.New(runID)
	var p *say.Problem
	if !errors.As(err, &p) || !strings.HasPrefix(p.Place, file) || !strings.Contains(p.Next.EN, "--state-dir") {
		t.Fatal(err)
	}
}

func BenchmarkSerialRunOfAHundredRecords(b *testing.B) {
	ctx := context.Background()
	inv := inventory("db1", "db2", "db3")
	for b.Loop() {
		set, _ := fakes("db1", "db2", "db3")
		l, err := Acquire(ctx, set, inv, operator("ann", 1), "apply", LeaseOptions{Clock: wait.Real{}, Serial: true})
		if err != nil {
			b.Fatal(err)
		}
		r := Replicate(NewMemory(nil), runID, l.Hosts(), inv, CopyOptions{Serial: true, Extra: 1})
		for i := range 100 {
			if err := r.Append(ctx, note(i)); err != nil {
				b.Fatal(err)
			}
			if i%2 == 0 {
				if err := r.Barrier(ctx, inv.Nodes[i%3].Name); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
