package dameng

import (
	"context"
	"path"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/check"
	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/say"
)

// space asks for room for a cold copy of each library that lies in files: the
// copy of a path lies beside it. An offline backup of a library in ASM goes to
// backup_dir; nobody knows its size before.
func (c checker) space(ctx context.Context) ([]check.Finding, error) {
	d := c.duties()
	if d == nil || len(d.Epochs) == 0 {
		return nil, nil // nothing is copied
	}
	s, err := newSite(c.env)
	if err != nil {
		return nil, err
	}
	var out []check.Finding
	for _, m := range s.members {
		seen := c.d.nodes[m.first().name]
		if m.shared() || seen.Trouble != "" {
			continue
		}
		short, err := m.first().room(ctx, seen.Cold)
		if err != nil {
			return nil, err
		}
		out = append(out, short...)
	}
	return out, nil
}

// room compares, per file system, what copies take with what is free.
func (n *node) room(ctx context.Context, paths []string) ([]check.Finding, error) {
	need, free := map[string]int64{}, map[string]int64{}
	var mounts []string
	for _, p := range paths {
		if there, err := n.exists(ctx, p); err != nil {
			return nil, err
		} else if !there {
			return []check.Finding{block(n.name, "DM-001", say.F("%s, which the cold copy has to hold, is not there", "冷备应包含的 %s 不存在", p), say.F("correct dm.ini or cold_paths", "请更正 dm.ini 或 cold_paths"))}, nil
		}
		size, err := n.run(ctx, host.Read("du", "-sk", p))
		if err != nil {
			return nil, err
		}
		mount, avail, err := n.free(ctx, path.Dir(p))
		if err != nil {
			return nil, err
		}
		if _, known := need[mount]; !known {
			mounts = append(mounts, mount)
		}
		kb, err := strconv.ParseInt(firstWord(size), 10, 64)
		if err != nil {
			return nil, say.Errorf("%s: du -sk %s: %q", "%s：du -sk %s：%q", n.name, p, size)
		}
		need[mount] += kb
		free[mount] = avail
	}
	var out []check.Finding
	for _, mount := range mounts {
		if need[mount] <= free[mount] {
			continue
		}
		f := block(n.name, "DM-001", say.F("%d MB are free on %s, the cold copy takes %d MB", "%[2]s 剩余 %[1]d MB，冷备需要 %[3]d MB", free[mount]>>10, mount, need[mount]>>10),
			say.F("make room on %s", "请清理 %s 的磁盘空间", n.name))
		f.Evidence = strings.Join(paths, " ")
		out = append(out, f)
	}
	return out, nil
}

// free reads df -Pk: the last line ends with available, capacity and mount point.
func (n *node) free(ctx context.Context, dir string) (mount string, kb int64, err error) {
	out, err := n.run(ctx, host.Read("df", "-Pk", dir))
	if err != nil {
		return "", 0, err
	}
	w := strings.Fields(lastLine(out))
	if len(w) < 6 {
		return "", 0, say.Errorf("%s: df -Pk %s: %q", "%s：df -Pk %s：%q", n.name, dir, out)
	}
	kb, err = strconv.ParseInt(w[3], 10, 64)
	return w[5], kb, err
}

func firstWord(s string) string {
	if w := strings.Fields(s); len(w) > 0 {
		return w[0]
	}
	return ""
}
