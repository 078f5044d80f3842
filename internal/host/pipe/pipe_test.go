package pipe

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// piped is a pipe in whose input said lies already.
func piped(t *testing.T, said string) *Pipe {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if _, err := p.W.WriteString(said); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatWasWrittenBeforeTheEndIsTakenWhole(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 60<<10)
	for name, held := range map[string]bool{
		"the output has ended":            false,
		"the output is held open by else": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := piped(t, long)
			if !held {
				_ = p.W.Close()
			}
			// The grace is over before the first look, as on a machine that is busy.
			p.Ended(-time.Second)
			var got bytes.Buffer
			if err := p.CopyTo(&got); err != nil {
				t.Fatal(err)
			}
			if got.String() != long {
				t.Errorf("got %d bytes of %d", got.Len(), len(long))
			}
		})
	}
}

func TestABackgroundThatGoesOnIsNotAwaitedForEver(t *testing.T) {
	t.Parallel()
	p := piped(t, "first")
	written := make(chan struct{})
	go func() {
		defer close(written)
		for {
			if _, err := p.W.WriteString("and on and on "); err != nil {
				return
			}
		}
	}()
	p.Ended(10 * time.Millisecond)
	var got bytes.Buffer
	if err := p.CopyTo(&got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.String(), "first") {
		t.Errorf("got %.20q", got.String())
	}
	p.Close()
	<-written
}

// shut fails as a link does that is gone.
type shut struct{}

func (shut) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestAListenerThatIsGoneDoesNotBlockTheCommand(t *testing.T) {
	t.Parallel()
	p := piped(t, "")
	wrote := make(chan error, 1)
	go func() {
		_, err := p.W.WriteString(strings.Repeat("x", 1<<20)) // more than the pipe holds
		_ = p.W.Close()
		wrote <- err
	}()
	if err := p.CopyTo(shut{}); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the listener's error", err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}
