// People in a room, by the viewer extension's own code without a viewer: runs in a page.
import { Connection } from '../../../pynun/ohif/static/connection.js';
import { People } from '../../../pynun/ohif/static/people.js';
import { Roles } from '../../../pynun/ohif/static/roles.js';
import { Room } from '../../../pynun/ohif/static/room.js';

const nothing = () => {};

/** Lets somebody come into a room; resolves when everybody there is known. */
globalThis.enter = ({ url, login, key }, id, name) =>
  new Promise((resolve) => {
    const connection = new Connection(url, login, {
      onState: nothing,
      onOpen: () => {
        room.open();
        people.open();
      },
      onEvent: (changed, text) => room.take(changed, text),
      onRemoved: (removed) => room.gone(removed),
      onAnswer: nothing,
      onRoundTrip: nothing,
      isFrameDue: () => false,
    });
    const room = new Room(connection, key, id);
    const people = new People(room, id, { name }, () => people.isComplete && resolve());
    const change = () => people.change({ isFollowing: roles.isFollowing });
    const roles = new Roles(room, id, people, { onChange: change, onJoin: nothing, onLead: nothing, onLeader: nothing });
    globalThis[name] = { roles, leave: () => connection.stop() };
    connection.start();
  });
