// A lesson: who leads and who follows, who may only watch, who comes late, and what happens when the server goes away.
import { withBrowser } from '../browser/browser.js';
import { ask, main, options } from '../javascript/harness.js';
import {
  act,
  bar,
  drag,
  now,
  open,
  people,
  press,
  ready,
  says,
  sentAfter,
  shown,
  sleep,
  together,
  wheel,
} from './pages.js';

const SIZE = { width: 1000, height: 700 };

const panesOf = async (page) => (await shown(page)).panes;

const hasSamePanes = (one, other) => JSON.stringify(one.panes) === JSON.stringify(other.panes);

/** Whether both show the same panes, at last. */
async function isTogether(here, there) {
  const found = await together(here, there, hasSamePanes);
  return hasSamePanes(found.here, found.there);
}

async function signIn(page, name, token) {
  const field = (which) => bar(page, `[data-field="${which}"]`);
  if (!(await bar(page, '[data-action="signIn"]').isVisible())) await act(page, 'more');
  await act(page, 'signIn');
  await field('name').fill(name);
  await field('token').fill(token);
  await act(page, 'submit');
}

async function signOut(page) {
  if (!(await bar(page, '[data-action="signOut"]').isVisible())) await act(page, 'more');
  await act(page, 'signOut');
}

/** Whether a viewer opens while the server that has the extension is down. */
async function opensAlone(browser, url) {
  const context = await browser.newContext({ viewport: SIZE });
  const page = await context.newPage();
  await page.goto(url, { timeout: 120_000 });
  const isShown = () => Boolean(window.cornerstone?.getEnabledElements?.()[0]?.viewport.getCornerstoneImage?.());
  const opened = await page.waitForFunction(isShown, null, { timeout: 120_000, polling: 200 }).then(
    () => true,
    () => false,
  );
  const bars = await page.locator('#nun-db-bar').count();
  await context.close();
  return [opened, bars];
}

const buttons = (page) =>
  bar(page, 'button').evaluateAll((all) =>
    Object.fromEntries(
      all
        .filter((one) => one.offsetParent !== null)
        .map((one) => [one.dataset.action, one.disabled ? one.title : true]),
    ),
  );

main(() =>
  withBrowser(options.chromium, {}, async (browser) => {
    const url = `${options.url}${options.paths[0]}`;
    const teacher = await open(browser, url, SIZE, 'teacher');
    const doctor = await open(browser, url, { width: 800, height: 600 }, 'doctor');
    await signIn(teacher, 'Ana <b>', '');
    const seen = { people: await people(doctor, 2) };

    // Ana leads: the doctor's own moves move nobody, and the next of hers brings him back.
    await act(teacher, 'takeOver');
    seen.leads = [await says(teacher, 'You lead'), await says(doctor, 'Following Ana <b>')];
    await wheel(teacher, 3);
    seen.follows = await isTogether(teacher, doctor);
    const [before, from] = [await panesOf(teacher), await now(doctor)];
    await wheel(doctor, 2);
    await sleep(800);
    seen.stray = {
      sent: await sentAfter(doctor, from),
      isUnmoved: JSON.stringify(await panesOf(teacher)) === JSON.stringify(before),
    };
    await wheel(teacher, 1);
    seen.broughtBack = await isTogether(teacher, doctor);

    // On his own, and back with the newest state at once.
    await act(doctor, 'letGo');
    seen.alone = await says(doctor, 'On your own, Ana <b> leads');
    await wheel(teacher, 2);
    await sleep(800);
    seen.isApart = JSON.stringify(await panesOf(teacher)) !== JSON.stringify(await panesOf(doctor));
    await act(doctor, 'follow');
    seen.back = await isTogether(teacher, doctor);
    await act(doctor, 'letGo');
    await press(teacher, 'r');
    await act(teacher, 'bring');
    seen.brought = await isTogether(teacher, doctor);

    await act(doctor, 'raise');
    seen.hand = await people(teacher, 2);
    for (const end = Date.now() + 10_000; Date.now() < end && !seen.hand.join().includes('✋');)
      seen.hand = await people(teacher, 2);
    await act(doctor, 'takeOver');
    seen.takenOver = [await says(doctor, 'You lead'), await says(teacher, 'Following Guest')];
    await wheel(doctor, 1);
    seen.followsBack = await isTogether(doctor, teacher);
    await act(doctor, 'release');
    seen.everybody = [await says(doctor, 'Everybody moves'), await says(teacher, 'Everybody moves')];

    // A third one comes late, signs in as somebody who may only read, and follows.
    await drag(teacher, 'middle', 8, [4, 3]);
    const student = await open(browser, url, { width: 900, height: 640 }, 'student');
    seen.late = await isTogether(teacher, student);
    await signIn(student, 'student', 'wrong');
    seen.wrong = await says(student, 'Invalid token');
    await signOut(student);
    await says(student, 'Everybody moves');
    await signIn(student, 'student', 'student-pwd');
    seen.watching = await says(student, 'You may only watch');
    seen.buttons = await buttons(student);
    await student.screenshot({ path: `${options.artifacts}/ohif-${options.version}-student.png` });
    const [fromStudent, still] = [await now(student), await panesOf(teacher)];
    await wheel(student, 2);
    await sleep(800);
    seen.student = {
      sent: await sentAfter(student, fromStudent),
      isUnmoved: JSON.stringify(await panesOf(teacher)) === JSON.stringify(still),
    };
    await wheel(teacher, 2);
    seen.studentFollows = await isTogether(teacher, student);
    seen.address = student.url();
    await signOut(student);
    await says(student, 'Everybody moves');
    await signIn(student, 'pupil', 'pupil-pwd');
    seen.pupil = [await says(student, 'You may only watch'), await people(teacher, 3)];
    await act(student, 'raise');
    const isRaised = (names) => names.some((name) => name.includes('✋ pupil'));
    for (const end = Date.now() + 15_000; Date.now() < end && !isRaised(seen.pupil[1]); await sleep(100)) {
      seen.pupil[1] = await people(teacher, 3);
    }

    // A client of the first extension: it moves them, and is moved by them.
    const fromDoctor = await now(doctor);
    await ask('old', {
      camera: await teacher.evaluate(() => window.cornerstone.getEnabledElements()[0].viewport.getCamera()),
    });
    for (const end = Date.now() + 15_000; Date.now() < end; await sleep(100)) {
      if ((await panesOf(teacher))[0].includes('scale 60.00') && (await panesOf(teacher))[0].includes('slice 9')) break;
    }
    seen.old = [await panesOf(teacher), await panesOf(doctor)];
    seen.oldEcho = (await sentAfter(doctor, fromDoctor)).length;
    await wheel(doctor, 1);
    await sleep(800);
    await ask('old heard');

    // The server is killed; what moves meanwhile is there when it is back, and nobody jumps.
    await ask('kill');
    seen.lost = await says(teacher, 'Connection lost');
    await wheel(teacher, 3);
    const away = await panesOf(teacher);
    seen.opensAlone = await opensAlone(browser, url);
    await ask('start');
    seen.again = await says(teacher, 'Everybody moves');
    seen.afterRestart = [await isTogether(teacher, doctor), await isTogether(teacher, student)];
    seen.hasJumped = JSON.stringify(await panesOf(teacher)) !== JSON.stringify(away);
    await wheel(doctor, 1);
    seen.goesOn = await isTogether(doctor, teacher);
    seen.peopleAgain = await people(teacher, 3);

    // A study that one may not open: he stays where he is, and is told.
    const [chest, head] = options.paths;
    await doctor.route('**/studies/*.2.json', (route) => route.fulfill({ status: 403 }));
    const goTo = async (path) => {
      await teacher.keyboard.press('Shift');
      await teacher.evaluate((to) => window.commandsManager.run('navigateHistory', { to }), `/${path}`);
      await teacher.waitForURL((address) => address.href === `${options.url}${path}`);
      await sleep(1500);
      await ready(teacher);
    };
    await goTo(head);
    const notice = doctor.getByText('a study that you may not open');
    seen.refused = [
      await notice
        .first()
        .waitFor({ timeout: 30_000 })
        .then(
          () => true,
          () => false,
        ),
      doctor.url().endsWith(chest),
    ];
    await goTo(chest);
    seen.inStepAgain = await isTogether(teacher, doctor);

    const leaving = Date.now();
    await student.context().close();
    seen.left = await people(teacher, 2);
    seen.leftAfter = Date.now() - leaving;

    // By keyboard alone: the bar's buttons are reached and pressed.
    await bar(doctor, '[data-action="letGo"]').focus();
    await doctor.keyboard.press('Enter');
    seen.keyboard = await says(doctor, 'On your own');
    seen.complaints = [...teacher.complaints, ...doctor.complaints];
    return seen;
  }),
);
