package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shiplift/shiplift/internal/say"
)

// Source is what Put sends: a *bytes.Reader, an *io.SectionReader or an opened
// *File. It may be read from several places at once.
type Source interface {
	io.ReaderAt
	Size() int64
}

// File is a file of this machine as a Source.
type File struct {
	*os.File
	size int64
}

// OpenFile opens a file of this machine as a Source.
func OpenFile(name string) (*File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = say.Errorf("%s is not a regular file", "%s 不是普通文件", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &File{File: f, size: st.Size()}, nil
}

// Size returns the bytes of the file when it was opened.
func (f *File) Size() int64 { return f.size }

// stallAfter ends a transfer of which no byte moves any more; flushing what
// was sent may take a slow disk much longer.
const stallAfter = 60 * time.Second

// PartSuffix is added to the name of a file that Put has not sent to its end.
const PartSuffix = ".part"

// Put sends src to dst on the machine. A transfer that was cut goes on where
// it ended: the bytes are gathered in dst.part, which becomes dst only after
// its sha256 was computed there and is want. With a wrong sum the old dst
// stays, the part is removed and the error is a *say.Problem. progress, if not
// nil, is told how many bytes the machine has; it may be called from another goroutine.
func Put(ctx context.Context, h Host, src Source, dst, want string, progress func(done, total int64)) error {
	p := put{h: h, src: src, dst: operand(dst), part: operand(dst) + PartSuffix,
		want: strings.ToLower(want), progress: progress, sent: sha256.New()}
	if have, err := Sum(ctx, h, p.dst); err == nil && have == p.want {
		p.tell(src.Size())
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	at, err := p.resumeAt(ctx)
	if err != nil {
		return err
	}
	if err := p.send(ctx, at); err != nil {
		return err
	}
	if err := p.verify(ctx); err != nil {
		return err
	}
	if _, err := h.Run(ctx, Change("mv", "-T", p.part, p.dst)); err != nil {
		return say.Errorf("put %s: %w", "传送 %s：%w", dst, err)
	}
	return nil
}

type put struct {
	h         Host
	src       Source
	dst, part string
	want      string
	progress  func(done, total int64)
	sent      hash.Hash // of all of src, as it was read
}

func (p *put) tell(done int64) {
	if p.progress != nil {
		p.progress(done, p.src.Size())
	}
}

// resumeAt is where the transfer goes on: at the end of the part if that is a
// beginning of src, at 0 if not.
func (p *put) resumeAt(ctx context.Context) (int64, error) {
	st, err := Stat(ctx, p.h, p.part)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if st.Size <= p.src.Size() {
		have, err := Sum(ctx, p.h, p.part)
		if err != nil {
			return 0, err
		}
		p.sent.Reset()
		if _, err := io.Copy(p.sent, io.NewSectionReader(p.src, 0, st.Size)); err != nil {
			return 0, say.Errorf("read the source of %s: %w", "读取 %s 的来源：%w", p.dst, err)
		}
		if hex.EncodeToString(p.sent.Sum(nil)) == have {
			return st.Size, nil
		}
	}
	p.sent.Reset()
	_, err = p.h.Run(ctx, Change("rm", "-f", p.part))
	return 0, err
}

// send appends what is missing.
func (p *put) send(ctx context.Context, at int64) error {
	p.tell(at)
	left := p.src.Size() - at // 0 too: the part may be whole and not yet flushed
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallAfter, func() { cancel(p.stall()) })
	defer stalled.Stop()
	in := &feed{Reader: io.TeeReader(io.NewSectionReader(p.src, at, left), p.sent), moved: func(n int64) {
		at += n
		wait := stallAfter
		if at == p.src.Size() {
			wait = fileTimeout
		}
		stalled.Reset(wait)
		p.tell(at)
	}}
	_, err := p.h.Run(ctx, Cmd{
		Argv:    []string{"dd", "oflag=append", "conv=notrunc,fsync", "bs=1M", "of=" + p.part},
		Stdin:   in,
		Timeout: -1, // as long as bytes move
	})
	if err != nil {
		return say.Errorf("put %s: %w", "传送 %s：%w", p.dst, err)
	}
	return nil
}

func (p *put) stall() error {
	return &say.Problem{
		Place: p.h.Name(),
		Text:  say.F("nothing of %s was taken for %s", "%s 的传输在 %s 内没有进展", p.dst, stallAfter),
		Next: say.F("look at disk and network of %s, then run the same command again: the transfer goes on where it ended",
			"检查 %s 的磁盘和网络后重新执行同一命令：传输会从中断处继续", p.h.Name()),
	}
}

// verify compares what the machine has with what it should have.
func (p *put) verify(ctx context.Context) error {
	have, err := Sum(ctx, p.h, p.part)
	if err != nil {
		return err
	}
	if have == p.want {
		return nil
	}
	err = &say.Problem{
		Place: p.h.Name() + ":" + p.dst,
		Text:  say.F("the copy was damaged on the way: its sha256 is %s, expected %s", "副本在传输中损坏：sha256 为 %s，应为 %s", have, p.want),
		Next:  say.F("run the same command again", "重新执行同一命令"),
	}
	if hex.EncodeToString(p.sent.Sum(nil)) == have {
		err = wrongSource(p.h.Name()+":"+p.dst, have, p.want)
	}
	return tidy(ctx, p.h, p.part, err)
}

func wrongSource(place, have, want string) error {
	return &say.Problem{
		Place: place,
		Text:  say.F("the file is not the one that is wanted: its sha256 is %s, expected %s", "文件与所需的不符：sha256 为 %s，应为 %s", have, want),
		Next:  say.F("get the package and its .sha256 again from the same place", "请从同一来源重新获取升级包及其 .sha256 文件"),
	}
}

// feed tells how far the reading has come.
type feed struct {
	io.Reader
	moved func(n int64)
}

func (f *feed) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	if n > 0 {
		f.moved(int64(n))
	}
	return n, err
}

// PutAll sends the file src to dst on all the nodes at once. The file is
// checked against want before any machine is touched. One node's trouble does
// not stop the others; what went wrong is returned for all of them together.
func PutAll(ctx context.Context, set Set, nodes []string, src, dst, want string, progress func(node string, done, total int64)) error {
	f, err := OpenFile(src)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, f.Size())); err != nil {
		return say.Errorf("read %s: %w", "读取 %s：%w", src, err)
	}
	if have := hex.EncodeToString(sum.Sum(nil)); have != strings.ToLower(want) {
		return wrongSource(src, have, want)
	}
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, node := range nodes {
		h, ok := set[node]
		if !ok {
			errs[i] = say.Errorf("no machine is known for node %q", "节点 %q 没有对应的主机", node)
			continue
		}
		all.Go(func() {
			errs[i] = Put(ctx, h, f, dst, want, func(done, total int64) {
				if progress != nil {
					progress(node, done, total)
				}
			})
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
