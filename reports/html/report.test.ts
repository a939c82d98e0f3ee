/** The HTML report in the browser that reads it: every pair of every contract, opened from a file, by pointer and by keyboard. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';
import t from 'tap';
import { reason } from '../../corpora/verdict.js';
import { cell, logOf, vme } from '../fixtures.js';
import { reportOf } from '../reporters.js';
import type { ResultLog } from '../result-log.js';
import { BROKEN, contractLog, HOSTILE } from './contract-log.js';
import { inOrderOfRelease } from './release-order.js';

const CHROMIUM = '/usr/bin/chromium';
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'];
const needsBrowser = { skip: existsSync(CHROMIUM) ? (false as const) : 'chromium is not installed' };
const folder = t.testdir();
const html = (log: ResultLog): Promise<string> => reportOf('html', log, { color: false, verbose: false });

let browser: Browser | undefined;
t.teardown(() => browser?.close());

/** The report, opened; `faults` gathers requests, errors and whatever the page complains of. */
async function open(
  log: ResultLog | string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; faults: string[] }> {
  browser ??= await chromium.launch({ executablePath: CHROMIUM, args: [...ARGS, '--disable-sync', '--no-first-run'] });
  const file = join(folder, `${Math.random()}.html`);
  writeFileSync(file, typeof log === 'string' ? log : await html(log));
  const page = await (await browser.newContext(options)).newPage();
  const faults: string[] = [];
  page.on('request', (request) => request.url().startsWith('file:') || faults.push(request.url()));
  page.on('console', (message) => faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(error.message));
  await page.goto(`file://${file}`);
  await page.waitForSelector('body[data-ready]');
  return { page, faults };
}

const hasFocus = (locator: Locator): Promise<boolean> =>
  locator.evaluate((element) => element.ownerDocument.activeElement === element);

const SOME = contractLog((pair) => /\/(Nehalem|kvm64)$/.test(pair));

void t.test('all pairs of all contracts: under 3 MB, each a square that leads to its dump', needsBrowser, async (t) => {
  const log = contractLog();
  t.ok(log.cells.length > 6000, `${log.cells.length} pairs`);
  const text = await html(log);
  t.ok(text.length < 3e6, `${text.length} characters`);
  const { page, faults } = await open(text);
  t.equal(await page.locator('.matrix td[data-at]').count(), log.cells.length);
  for (let i = 0; i < log.cells.length; i += 997) {
    await page.evaluate(`location.hash = '#/cell/${i}'`);
    await page.getByRole('heading', { name: log.cells[i]!.pair, exact: true }).waitFor();
    t.match(await page.locator('.dumps').innerText(), /Registers\s+APIC id/, log.cells[i]!.pair);
  }
  t.same(faults, [], 'nothing was fetched, nothing complained');
});

void t.test('the break comes first, and leads to the bit', needsBrowser, async (t) => {
  const { page, faults } = await open(SOME);
  t.equal(await page.locator('h1').innerText(), '≠ The contract is broken');
  t.match(
    await page.locator('#breaks').innerText(),
    /changed Nehalem on pc-i440fx-2\.3 predicted identical\s+CPUID 1\.ECX\[25\] \(aes\)/,
  );
  await page.locator('#breaks a').click();
  t.equal(await page.locator('#detail h2').innerText(), BROKEN);
  t.ok(await hasFocus(page.locator('#detail h2')), 'a reader of the screen is told');
  const row = page.locator('.diff tbody tr').first();
  t.match(await row.innerText(), /^1\.ECX\s+80982201|^1\.ECX/);
  t.match(await row.innerText(), /\+aes 25\s+cpuid-changed$/);
  t.match(await page.locator('.requirements').innerText(), /ABI-CPUID-001\s+Every register/);
  t.match(
    await page.locator('.command code').innerText(),
    "guest-abi verify --pair 'pc-i440fx-2.3/Nehalem' --host 'local' --scenario boot",
  );
  await page.getByRole('button', { name: 'the whole dump' }).click();
  t.match(await page.locator('.dumps').innerText(), /CPUID as seen: \d+ rows/);
  t.match(await page.locator('.dumps').innerText(), /0x0000001b\s+IA32_APIC_BASE\s+00000000fee00900/);
  await page.getByRole('link', { name: 'All results' }).click();
  t.ok(await page.locator('.matrix').isVisible());
  t.match(await page.title(), /^The contract is broken/);
  t.same(faults, []);
});

void t.test('what a log holds is text on the page, never markup', needsBrowser, async (t) => {
  const { page, faults } = await open(SOME);
  t.ok((await page.locator('#breaks').innerText()).includes(HOSTILE));
  await page.locator('#breaks a').click();
  t.ok((await page.locator('.findings').last().innerText()).includes(HOSTILE));
  t.equal(await page.locator('img').count(), 0);
  t.same(faults, []);
});

void t.test('the map is walked with the keys and told to those who do not see it', needsBrowser, async (t) => {
  const { page } = await open(SOME);
  await page.getByRole('grid').locator('[tabindex="0"]').focus();
  const named = (name: string) => page.getByRole('gridcell', { name, exact: true });
  t.ok(await hasFocus(named('pc-1.0/kvm64: identical')));
  await page.keyboard.press('ArrowRight');
  t.ok(await hasFocus(named('pc-1.1/kvm64: identical')));
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('End');
  await page.keyboard.press('Home');
  await page.keyboard.press('Enter');
  t.equal(await page.locator('#detail h2').innerText(), 'pc-1.0/Nehalem');
  await page.goBack();
  t.ok(await page.locator('.matrix').isVisible());
});

void t.test('search, verdicts and slices narrow map and list alike', needsBrowser, async (t) => {
  const moved = SOME.cells
    .slice(0, 5)
    .map((one) => ({ ...one, scenario: 'migrate' as const, hosts: ['local', 'ssh:b'] }));
  const { page } = await open({ ...SOME, cells: [...SOME.cells, ...moved] });
  const matching = () => page.locator('.matching').innerText();
  t.match(await matching(), new RegExp(`^${SOME.cells.length + 5} of ${SOME.cells.length + 5} cells`));
  await page.getByLabel('Search').fill('AES nehalem');
  await page.getByText(/^1 of /).waitFor();
  t.equal(await page.locator('.matrix td[data-at]').count(), 1);
  t.equal(await page.locator('.cells tbody tr').count(), 1);
  await page.getByLabel('Search').fill('');
  await page.getByLabel('≠ changed').uncheck();
  t.match(await matching(), new RegExp(`^${SOME.cells.length + 4} of .*identical$`));
  await page.getByRole('button', { name: /^local > ssh:b, migrate/ }).click();
  t.match(await matching(), /^5 of \d+ cells, 5 pairs/);
  t.ok(await hasFocus(page.locator('.slice[aria-pressed="true"]')), 'the keyboard stays where it chose');
});

void t.test("a model's history: each change of its table once, with names", needsBrowser, async (t) => {
  const { page } = await open(SOME);
  await page.getByRole('rowheader').getByRole('link', { name: 'Nehalem' }).click();
  const eras = await page.locator('.eras > li').allInnerTexts();
  t.match(eras[0], /^pc-1\.0 to pc-1\.2 3 machine types[\s\S]*the first table of pc$/);
  t.ok(eras.length > 3 && eras.length < 20, `${eras.length}`);
  // QEMU's pc_compat_2_2 takes vme from Nehalem.
  t.ok(eras.some((era) => /^pc-i440fx-2\.3/.test(era) && /\+vme/.test(era)));
});

void t.test('fits its width, prints without its controls, and says what an empty log is', needsBrowser, async (t) => {
  for (const [width, colorScheme] of [
    [390, 'dark'],
    [1024, 'light'],
    [1600, 'dark'],
  ] as const) {
    const { page } = await open(SOME, { viewport: { width, height: 900 }, colorScheme });
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), width);
    await page.emulateMedia({ media: 'print' });
    t.notOk(await page.getByLabel('Search').isVisible());
    t.ok(await page.locator('.matrix').isVisible());
    await page.context().close();
  }
  const { page, faults } = await open(logOf([]));
  t.equal(await page.locator('h1').innerText(), '? Nothing was verified');
  t.match(await page.locator('#map').innerText(), /No cells were run/);
  t.same(faults, []);
});

void t.test('without a script the first part stands', async (t) => {
  const text = await html(logOf([cell({})]));
  t.match(text, /<h1>.*The contract holds<\/h1>/);
  t.match(text, /default-src 'none'/);
  t.notMatch(text, /https?:/);
});

void t.test('what guests met in a boot and in a move is one cause, with both places and each prediction', async (t) => {
  const phys = (step: string) =>
    reason({
      ...vme,
      code: 'cpuid-changed',
      step,
      leaf: '0x80000008',
      register: 'eax',
      bit: 2,
      feature: null,
      message: 'CPUID 80000008.EAX[2]: contract 0x00000020, guest 0x00000024',
    });
  const broken = { pair: 'pc-i440fx-2.4/n270-v1', verdict: 'changed', hosts: ['tcg'], subject: 'qemu-10.0' } as const;
  const text = await html(
    logOf([
      cell({ ...broken, predicted: 'identical', reasons: [phys('boot')] }),
      cell({
        ...broken,
        predicted: 'refused',
        subject: 'qemu-10.0 > qemu-11.1',
        hosts: ['tcg', 'tcg'],
        scenario: 'migrate',
        reasons: [phys('boot'), phys('hop-1')],
      }),
    ]),
  );
  const causes = text.slice(text.indexOf('<ol class="causes">'), text.indexOf('</ol>'));
  t.equal(causes.match(/class="badge/g)?.length, 1);
  t.match(causes, 'predicted identical (1 cell), refused (1 cell)');
  t.equal(causes.match(/CPUID 80000008\.EAX\[2\]/g)?.length, 1);
  t.match(causes, 'boot: qemu-10.0 on tcg; migrate: qemu-10.0 &gt; qemu-11.1 on tcg &gt; tcg');
});

void t.test('machine types stand family by family, oldest first', async (t) => {
  const names = ['pc-q35-10.0', 'pc-i440fx-2.12', 'pc-next', 'pc-i440fx-2.2', 'microvm', 'pc-1.3', 'pc-q35-9.2'];
  t.same(names.sort(inOrderOfRelease), [
    'pc-1.3',
    'pc-next',
    'pc-i440fx-2.2',
    'pc-i440fx-2.12',
    'pc-q35-9.2',
    'pc-q35-10.0',
    'microvm',
  ]);
});
